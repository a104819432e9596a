"""`TabletopSimulation`: a robot, its controller, its cameras and a task, advanced in control steps.

It stands for the real hardware: it takes a `JointTrajectory` as a joint trajectory controller does, and gives an
`Observation` as cameras and joint encoders do. The ROS simulator node and the in-process evaluation both drive it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from policies.execution.camera_pose import camera_pose
from policies.execution.joint_log import JointLog
from policies.execution.kinematics import Kinematics
from policies.execution.trajectory import JointTrajectory
from policies.interface import CameraView, Observation
from policies.robots import get_robot
from policies.robots.camera_mount import CameraMount
from sim.episode_id import EpisodeId
from sim.instructions import instruct
from sim.layout import Layout, NoRoomError
from sim.rendering import OffscreenRenderer, intrinsics
from sim.scene import Scene, scene_cameras
from sim.suites import Variation, get_suite
from sim.tasks import Task, fits, get_task
from sim.trajectory_controller import TrajectoryController

_HOME_NOISE_RAD = 0.06
_LAYOUT_TRIES = 200


@dataclass(frozen=True, slots=True)
class SimulationConfig:
    """What is fixed for all episodes of one simulation; the defaults are those of the panda (see `of`).

    Attributes:
        robot: name of the robot, or its YAML file.
        robot_model: `polyarm` (ours) or `menagerie`.
        profile: rendering profile, `fast` or `quality`.
        cameras: names of the cameras that `observe` renders.
        width: image width, pixels.
        height: image height, pixels.
        control_hz: control steps per second.
    """

    robot: str = "panda"
    robot_model: str = "polyarm"
    profile: str = "fast"
    cameras: tuple[str, ...] = ("front", "wrist")
    width: int = field(default=224, metadata={"range": (1, 4096)})
    height: int = field(default=224, metadata={"range": (1, 4096)})
    control_hz: float = field(default=10.0, metadata={"range": (0.1, 500.0)})

    @classmethod
    def of(cls, robot: str, **settings: Any) -> SimulationConfig:
        """The configuration with the cameras and the control rate of a robot, where `settings` does not say otherwise.

        Raises:
            ValueError: nothing of that name, or a file that is wrong.
        """
        spec = get_robot(robot)
        defaults = {"control_hz": spec.control_hz, "cameras": scene_cameras(spec).names}
        return cls(robot=robot, **(defaults | settings))


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """How an episode stands.

    Attributes:
        success: the goal state has held for the task's number of control steps. Success ends the episode.
        progress: from 0 to 1, the most that was reached.
        steps: control steps so far.
        done: success, or out of steps.
        jerk: root mean square of the third differences of the commanded arm joints at the control steps, over arm
            joints and steps, rad/s^3; 0 before the fourth position.
    """

    success: bool
    progress: float
    steps: int
    done: bool
    jerk: float = 0.0


class TabletopSimulation:
    """One robot at its table. `reset` begins an episode; `accept`, `advance` and `observe` run it.

    Time is simulated seconds since `reset`, counted in whole physics steps of 2 ms.
    """

    def __init__(self, config: SimulationConfig | None = None) -> None:
        self.config = config or SimulationConfig()
        self.robot = get_robot(self.config.robot)
        self.kinematics = Kinematics(self.robot)
        self.scene = Scene(self.robot, self.config.robot_model)
        self._timestep_ns = round(self.scene.model.opt.timestep * 1e9)
        self._substeps = round(1e9 / self.config.control_hz / self._timestep_ns)
        self._renderer: OffscreenRenderer | None = None
        self._controller = TrajectoryController(self.robot)
        self._actuators = np.arange(len(self.robot.joint_names))
        self._velocity_gain = self._velocity_gains()
        self._control_scale, self._control_offset = self._actuator_units()
        self._task: Task | None = None
        self.instruction = ""
        self._ticks = self._steps = self._held = 0
        self._progress = 0.0
        self._path: list[NDArray[np.float64]] = []
        self._joint_log = JointLog()

    def reset(self, episode: EpisodeId, joint_positions: NDArray[np.float64] | None = None) -> None:
        """Begin the episode that `episode` names; everything random in it comes from there.

        Args:
            episode: task, suite, severity, index and seed.
            joint_positions: (n,) start configuration instead of the drawn one near home.

        Raises:
            ValueError: unknown task or suite, or a task for another robot.
            NoRoomError: no layout was found (cannot happen with the suites that ship).
        """
        rng = np.random.default_rng(episode.seed_sequence())
        task = get_task(episode.task)
        if not fits(task, self.robot):
            raise ValueError(f"task {episode.task!r}: expected one for robot {self.robot.name!r}, found {task.robot!r}")
        variation = get_suite(episode.suite).sample(rng, episode.severity)
        start = self._draw_start(rng)
        layout = _draw_layout(task, rng, variation)
        self.instruction = instruct(episode.task, rng, held_out=variation.held_out_paraphrases, **layout.words)
        self.scene.arrange(layout, variation, start if joint_positions is None else joint_positions)
        self._ticks = self._steps = self._held = 0
        self._controller.reset(self.scene.joint_positions, now=self.time)
        self._task = task(self.scene)
        self._progress = 0.0
        self._path = [self._commanded_arm()]
        self._joint_log.clear()

    @property
    def _current(self) -> Task:
        if self._task is None:
            raise RuntimeError("simulation: expected reset() before the episode is used")
        return self._task

    @property
    def task_name(self) -> str:
        """Name of the current task."""
        return self._current.name

    @property
    def time(self) -> float:
        """Simulated seconds since `reset`, a whole number of nanoseconds."""
        return self.time_ns / 1e9

    @property
    def time_ns(self) -> int:
        """Simulated nanoseconds since `reset`."""
        return self._ticks * self._timestep_ns

    @property
    def control_period(self) -> float:
        """Seconds per control step."""
        return self._substeps * self._timestep_ns / 1e9

    def observe(self) -> Observation:
        """Render the cameras and read the joints; with the readings of the control steps since the last observation."""
        positions = self.scene.joint_positions
        return Observation(
            stamp=self.time,
            cameras={name: self.view(name, positions) for name in self.config.cameras},
            joint_positions=positions,
            joint_velocities=self.scene.joint_velocities,
            instruction=self.instruction,
            readings=self._joint_log.take(self.time),
        )

    def pictures(self) -> dict[str, NDArray[np.uint8]]:
        """Render the colour pictures (H, W, 3) of the cameras, as `observe` would now."""
        positions = self.scene.joint_positions
        return {name: self.view(name, positions).rgb for name in self.config.cameras}

    def view(self, camera: str, joint_positions: NDArray[np.float64]) -> CameraView:
        """Render one camera; its pose follows from `joint_positions` (n,) and its mount."""
        if self._renderer is None:
            config = self.config
            self._renderer = OffscreenRenderer(self.scene.model, config.width, config.height, config.profile)
        rgb, depth = self._renderer.render(self.scene.data, camera)
        fovy = float(self.scene.model.camera(camera).fovy[0])
        return CameraView(
            rgb=rgb,
            depth=depth,
            intrinsics=intrinsics(fovy, self.config.width, self.config.height),
            base_from_camera=camera_pose(self.kinematics, joint_positions, self.camera_mount(camera)),
        )

    def camera_mount(self, camera: str) -> CameraMount:
        """Where a camera's optical frame (REP 103) is fixed: to the base frame or to a body of the robot."""
        model = self.scene.model
        entry = model.camera(camera)
        parent = model.body(int(entry.bodyid[0])).name
        half_turn_about_x = np.array((0.0, 1.0, 0.0, 0.0))
        quaternion = np.empty(4)
        mujoco.mju_mulQuat(quaternion, entry.quat, half_turn_about_x)
        return CameraMount(
            parent_frame=self.robot.base_frame if parent == "world" else parent,
            position=entry.pos.copy(),
            quaternion_xyzw=quaternion[[1, 2, 3, 0]],
        )

    def accept(self, trajectory: JointTrajectory) -> None:
        """Replace the running trajectory, as a joint trajectory controller does."""
        self._controller.accept(trajectory, self.time)

    def advance(self, control_steps: int) -> TaskStatus:
        """Run physics for some control steps, judging the task after each; stops early when the episode is done."""
        for _ in range(control_steps):
            for _ in range(self._substeps):
                self.tick()
            status = self.judge()
            if status.done:
                return status
        return self.status()

    def tick(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Advance physics by one step of 2 ms.

        Returns:
            Positions (n,) rad (m) and velocities (n,) rad/s (m/s) that the controller asked for in it.
        """
        desired, velocity = self._controller.sample(self.time)
        command = desired + self._velocity_gain * velocity
        self.scene.data.ctrl[self._actuators] = self._control_scale * command + self._control_offset
        mujoco.mj_step(self.scene.model, self.scene.data)
        self._ticks += 1
        return desired, velocity

    def judge(self) -> TaskStatus:
        """Count one control step and evaluate the task's predicate."""
        self._steps += 1
        self._held = self._held + 1 if self._current.achieved() else 0
        self._progress = max(self._progress, self._current.progress())
        self._path.append(self._commanded_arm())
        self._joint_log.add(self.time, self.scene.joint_positions)
        return self.status()

    @property
    def commanded_positions(self) -> NDArray[np.float64]:
        """(n,) joint positions that the controller asks for now, rad (m)."""
        return self._controller.sample(self.time)[0]

    def _commanded_arm(self) -> NDArray[np.float64]:
        return self.commanded_positions[self.robot.arm_joints]

    def status(self) -> TaskStatus:
        """How the episode stands after the last control step."""
        success = self._held >= self._current.hold_steps
        progress = 1.0 if success else self._progress
        done = success or self._steps >= self._current.max_steps
        return TaskStatus(success, progress, self._steps, done, rms_jerk(self._path, self.control_period))

    def close(self) -> None:
        """Free the rendering context."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _draw_start(self, rng: np.random.Generator) -> NDArray[np.float64]:
        start = self.robot.home.copy()
        arm, grippers = self.robot.arm_joints, self.robot.grippers
        start[arm] += rng.uniform(-_HOME_NOISE_RAD, _HOME_NOISE_RAD, len(arm))
        start[grippers] = self.robot.upper[grippers]
        return start

    def _velocity_gains(self) -> NDArray[np.float64]:
        """Seconds by which a position actuator must lead to track a velocity: its damping over its stiffness."""
        bias = self.scene.model.actuator_biasprm[self._actuators]
        return np.divide(bias[:, 2], bias[:, 1], out=np.zeros(len(bias)), where=bias[:, 1] != 0)

    def _actuator_units(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scale and offset from joint units to control units: a gripper's actuator may have a range of its own."""
        scale, offset = np.ones(len(self._actuators)), np.zeros(len(self._actuators))
        for gripper in self.robot.grippers:
            low, high = self.scene.model.actuator_ctrlrange[self._actuators[gripper]]
            closed, opened = self.scene.model.joint(self.robot.joint_names[gripper]).range
            scale[gripper] = (high - low) / (opened - closed)
            offset[gripper] = low - scale[gripper] * closed
        return scale, offset


def _draw_layout(task: type[Task], rng: np.random.Generator, variation: Variation) -> Layout:
    for _ in range(_LAYOUT_TRIES):
        try:
            return task.sample(rng, variation)
        except NoRoomError:
            continue
    raise NoRoomError(f"task {task.name!r}: no layout found in {_LAYOUT_TRIES} draws")


def rms_jerk(path: Sequence[NDArray[np.float64]], period: float) -> float:
    """Root mean square of the third differences of positions (T, n), `period` seconds apart; 0 for fewer than four."""
    if len(path) < 4:
        return 0.0
    return float(np.sqrt(np.mean(np.diff(np.array(path), 3, axis=0) ** 2)) / period**3)
