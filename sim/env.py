"""The tabletop tasks as gymnasium environments, from `polyarm/Reach-v0` on (see `sim.registration.ENVIRONMENTS`)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from policies.execution.trajectory import JointTrajectory
from policies.interface import ActionChunk, Observation
from sim.episode_id import EpisodeId
from sim.expert import PACE_PERIOD
from sim.registration import register_envs
from sim.rendering import DEPTH_RANGE, OffscreenRenderer
from sim.simulation import SimulationConfig, TabletopSimulation
from sim.suites import SEVERITIES, get_suite
from sim.tasks import get_task

MAX_TRANSLATION = 0.05
"""Largest displacement in 0.1 s and per axis of a Cartesian action, metres."""

MAX_ROTATION = 0.25
"""Largest turn in 0.1 s and per axis of a Cartesian action, radians."""

RENDER_SIZE = 480
"""Width and height in pixels of the pictures that `render` returns."""

_MAX_POSITION = 2.0 * np.pi
_MAX_VELOCITY = 50.0
_MAX_COORDINATE = 10.0
_MAX_FOCAL_LENGTH = 1e5

ControlMode = Literal["cartesian_delta", "joint"]


class TabletopEnv(gymnasium.Env[dict[str, Any], NDArray[np.float64]]):
    """A robot at a table does what a sentence asks, seen by RGB-D cameras.

    The robot follows from the task: a Panda arm or ALOHA's two arms. What follows is the Panda's; where ALOHA differs,
    a section at the end says so.

    ## Action space
    One action is executed per control step of 0.1 s; values outside the bounds are clipped to them, values that are not
    finite are refused. The arm moves to the action's target and comes to rest there at the end of the step.

    `control_mode="cartesian_delta"` (default): `Box(7,)` in physical units, a row of an `ActionChunk` of that kind.
    `gymnasium.wrappers.RescaleAction(env, -1, 1)` gives the normalised form.

    | index | meaning | unit | low | high |
    |---|---|---|---|---|
    | 0..2 | displacement of the tool along x, y, z of the base frame, from its observed pose | m | -0.05 | 0.05 |
    | 3..5 | turn of the tool about the fixed x, y, z axes of the base frame (roll, pitch, yaw) | rad | -0.25 | 0.25 |
    | 6 | gripper, closed to open | 1 | 0 | 1 |

    `control_mode="joint"`: `Box(8,)`, absolute targets.

    | index | meaning | unit | bounds |
    |---|---|---|---|
    | 0..6 | `joint1` .. `joint7` | rad | the robot's position limits |
    | 7 | `finger_joint1`, per finger | m | 0 (closed) .. 0.04 (open) |

    ## Observation space
    A `Dict`. For each camera `front` (third person, faces the robot) and `wrist`:

    | key | shape, type | meaning |
    |---|---|---|
    | `<camera>_rgb` | (H, W, 3) uint8 | colour |
    | `<camera>_depth` | (H, W) float32 | z-depth registered to the colour, m, up to 3 m; 0 where unknown |
    | `<camera>_intrinsics` | (3, 3) float64 | pixels; the centre of the top-left pixel is (0.5, 0.5) |
    | `<camera>_base_from_camera` | (4, 4) float64 | pose of the optical frame (x right, y down, z forward), m |

    and for the robot:

    | key | shape, type | meaning |
    |---|---|---|
    | `joint_positions` | (8,) float64 | rad; m for the gripper joint |
    | `joint_velocities` | (8,) float64 | rad/s; m/s for the gripper joint |
    | `gripper_opening` | (1,) float64 | 0 closed to 1 open |

    ## Reward
    1 on the step at which the task succeeds, else 0. `info["progress"]` is a dense measure from 0 to 1.

    ## Start of an episode
    `reset(seed=...)` draws scene, instruction and the arm's start near its home configuration; the same seed gives the
    same sequence of episodes. `reset(options={"episode": EpisodeId(...)})` starts exactly that episode, of any task,
    suite and severity, as evaluations do.

    ## End of an episode
    Terminated when the task has succeeded (its goal state held for the task's number of steps); truncated when its step
    limit is reached.

    ## Info
    | key | type | meaning |
    |---|---|---|
    | `instruction` | str | what to do (here since shared-memory vector environments never update `Text` spaces) |
    | `success` | bool | whether the task has succeeded |
    | `progress` | float | the most that was reached, from 0 to 1 |
    | `steps` | int | control steps so far |
    | `episode_id` | str | task, suite, severity, seed and index of the episode |

    ## Arguments
    | name | default | meaning |
    |---|---|---|
    | `task` | set by the id | a task of `sim.tasks` |
    | `control_mode` | `"cartesian_delta"` | or `"joint"` |
    | `suite`, `severity` | `"nominal"`, 1 | variation suite (see `sim.suites`) and its grade 1..3 |
    | `width`, `height` | 224, 224 | size of the observed pictures, pixels |
    | `cameras` | all of the robot's | which cameras are rendered |
    | `profile` | `"fast"` | rendering profile of the observed pictures (see `sim.rendering`) |
    | `robot_model` | `"polyarm"` | or `"menagerie"`: the same robot with detailed meshes |
    | `render_mode` | `None` | `"rgb_array"`: `render` returns the fixed camera, 480 x 480, profile `quality` |

    ## Two arms
    A control step takes 0.04 s. A Cartesian action is `Box(14,)`: seven values as above for the left arm, then for the
    right one, with bounds of 0.02 m and 0.1 rad. A joint action is `Box(14,)`: `left/waist` .. `left/wrist_rotate`
    (rad), `left/left_finger` (m), then the same of the right arm. Cameras are `top` (fixed), `left_wrist` and
    `right_wrist`; `gripper_opening` is (2,), `joint_positions` and `joint_velocities` are (14,).

    Nothing is rendered before the first `reset`, so environments may be handed to forked workers until then; after
    it, start workers with `AsyncVectorEnv(..., context="spawn")`.

    ## Version history
    - v0: first version.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        task: str,
        control_mode: ControlMode = "cartesian_delta",
        suite: str = "nominal",
        severity: int = 1,
        width: int = 224,
        height: int = 224,
        cameras: tuple[str, ...] | None = None,
        profile: str = "fast",
        robot_model: str = "polyarm",
        render_mode: str | None = None,
    ) -> None:
        robot = get_task(task).robot
        get_suite(suite)
        if severity not in SEVERITIES:
            raise ValueError(f"severity: expected one of {SEVERITIES}, found {severity!r}")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode: expected None or 'rgb_array', found {render_mode!r}")
        self.task, self.control_mode, self.suite, self.severity = task, control_mode, suite, severity
        self.render_mode = render_mode
        settings: dict[str, Any] = {"robot_model": robot_model, "profile": profile, "width": width, "height": height}
        if cameras is not None:
            settings["cameras"] = tuple(cameras)
        self.simulation = TabletopSimulation(SimulationConfig.of(robot, **settings))
        self.metadata = {**type(self).metadata, "render_fps": round(self.simulation.config.control_hz)}
        self.action_space = self._make_action_space()
        self.observation_space = self._make_observation_space()
        self._picture: OffscreenRenderer | None = None
        self._episode: EpisodeId | None = None
        self._observed: Observation | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: seeds the sequence of episodes; None goes on with it.
            options: `{"episode": EpisodeId(...)}` begins that episode instead of the next one of the sequence.

        Raises:
            ValueError: an unknown option.
        """
        super().reset(seed=seed)
        options = options or {}
        if unknown := options.keys() - {"episode"}:
            raise ValueError(f"options: expected 'episode' only, found {sorted(unknown)}")
        drawn = EpisodeId(self.task, self.suite, self.severity, 0, int(self.np_random.integers(2**31)))
        self._episode = options.get("episode", drawn)
        self.simulation.reset(self._episode)
        self._observed = self.simulation.observe()
        return self._as_dict(self._observed), self._info()

    def step(self, action: NDArray[np.float64]) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Execute one action for one control step.

        Raises:
            ValueError: wrong shape, or values that are not finite.
            RuntimeError: `reset` has not been called.
        """
        if self._observed is None:
            raise RuntimeError("step: expected a reset environment, found none; call reset() first")
        target = self._joint_target(np.asarray(action, dtype=np.float64), self._observed)
        simulation = self.simulation
        rest = np.zeros((1, len(target)))
        simulation.accept(JointTrajectory(simulation.time, np.array([simulation.control_period]), target[None], rest))
        status = simulation.advance(1)
        self._observed = simulation.observe()
        reward = 1.0 if status.success else 0.0
        return self._as_dict(self._observed), reward, status.success, status.done and not status.success, self._info()

    def render(self) -> NDArray[np.uint8] | None:
        """Return the fixed camera (480, 480, 3) uint8 in the `quality` profile, or None without a render mode."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() was called on an environment that was made without render_mode='rgb_array'")
            return None
        if self._observed is None:
            raise RuntimeError("render: expected a reset environment, found none; call reset() first")
        scene = self.simulation.scene
        if self._picture is None:
            self._picture = OffscreenRenderer(scene.model, RENDER_SIZE, RENDER_SIZE, "quality")
        return self._picture.render(scene.data, scene.cameras.fixed)[0]

    def close(self) -> None:
        """Free the rendering contexts."""
        self.simulation.close()
        if self._picture is not None:
            self._picture.close()
            self._picture = None

    def _joint_target(self, action: NDArray[np.float64], observed: Observation) -> NDArray[np.float64]:
        if action.shape != self.action_space.shape or not np.isfinite(action).all():
            raise ValueError(f"action: expected {self.action_space.shape} finite values, found {action}")
        action = np.clip(action, self.action_space.low, self.action_space.high)
        if self.control_mode == "joint":
            return action
        period = self.simulation.control_period
        chunk = ActionChunk(observed.stamp, period, "cartesian_delta", action[None])
        return self.simulation.kinematics.to_joint_chunk(chunk, observed.joint_positions).rows[0]

    def _make_action_space(self) -> spaces.Box:
        robot = self.simulation.robot
        if self.control_mode == "joint":
            return spaces.Box(robot.lower, robot.upper, dtype=np.float64)
        if self.control_mode == "cartesian_delta":
            step = np.repeat((MAX_TRANSLATION, MAX_ROTATION), 3) * (self.simulation.control_period / PACE_PERIOD)
            low, high = np.append(-step, 0.0), np.append(step, 1.0)
            arms = len(robot.arms)
            return spaces.Box(np.tile(low, arms), np.tile(high, arms), dtype=np.float64)
        raise ValueError(f"control_mode: expected 'cartesian_delta' or 'joint', found {self.control_mode!r}")

    def _make_observation_space(self) -> spaces.Dict:
        config, count = self.simulation.config, len(self.simulation.robot.joint_names)
        size = (config.height, config.width)
        entries: dict[str, spaces.Space] = {}
        for camera in config.cameras:
            entries[f"{camera}_rgb"] = spaces.Box(0, 255, (*size, 3), np.uint8)
            entries[f"{camera}_depth"] = spaces.Box(0.0, DEPTH_RANGE, size, np.float32)
            entries[f"{camera}_intrinsics"] = spaces.Box(0.0, _MAX_FOCAL_LENGTH, (3, 3), np.float64)
            entries[f"{camera}_base_from_camera"] = spaces.Box(-_MAX_COORDINATE, _MAX_COORDINATE, (4, 4), np.float64)
        entries["joint_positions"] = spaces.Box(-_MAX_POSITION, _MAX_POSITION, (count,), np.float64)
        entries["joint_velocities"] = spaces.Box(-_MAX_VELOCITY, _MAX_VELOCITY, (count,), np.float64)
        entries["gripper_opening"] = spaces.Box(0.0, 1.0, (len(self.simulation.robot.arms),), np.float64)
        return spaces.Dict(entries)

    def _as_dict(self, observation: Observation) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for name, view in observation.cameras.items():
            entries[f"{name}_rgb"] = view.rgb
            entries[f"{name}_depth"] = np.nan_to_num(view.depth, nan=0.0)
            entries[f"{name}_intrinsics"] = view.intrinsics
            entries[f"{name}_base_from_camera"] = view.base_from_camera
        entries["joint_positions"] = observation.joint_positions
        entries["joint_velocities"] = np.clip(observation.joint_velocities, -_MAX_VELOCITY, _MAX_VELOCITY)
        entries["gripper_opening"] = self.simulation.robot.gripper_openings(observation.joint_positions)
        return entries

    def _info(self) -> dict[str, Any]:
        status = self.simulation.status()
        return {
            "success": status.success,
            "progress": status.progress,
            "steps": status.steps,
            "episode_id": str(self._episode),
            "instruction": self.simulation.instruction,
        }


register_envs()
