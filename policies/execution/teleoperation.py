"""`Teleoperation`: a joystick's deflections to short joint trajectories, each of which ends in a stop.

While the deadman button is held, a target pose of the tool moves with the commanded twist, and inverse kinematics turns
its way ahead into joint targets. The target gathers speed gradually and slows down towards the border of the workspace;
joints gather and lose speed gradually as well, and where the arm is nearly stretched they slow the tool down. What the
arm cannot follow is not saved up: the target keeps close to it. When the
button is released, or the joystick falls silent, one stop is sent and then nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from policies.execution.chunk_scheduler import ChunkScheduler
from policies.execution.joystick import PRESSED, ButtonPresses, JoyLayout
from policies.execution.kinematics import Kinematics, rotation_from_rpy
from policies.execution.trajectory import JointState, JointTrajectory, brake
from policies.interface import ActionChunk
from policies.robots.spec import RobotSpec

# Share of the acceleration limit with which the arm is stopped.
STOP_EFFORT = 0.5
# Shares of the limits that a joint may use; where the arm is nearly stretched the tool would ask for more.
JOINT_SPEED = 0.5
JOINT_ACCELERATION = 0.2
# Likewise after a target that was missed: a joint that turns back stands at a row, and between rows asks for six times
# as much.
STRETCHED_ACCELERATION = 0.14
MIN_SPEED = 1e-3  # rad/s that a joint may have even where it is to stand
LIMIT_MARGIN = 0.01  # rad that joints are led to before their limits
LOST = 0.15  # rad; an arm that is further from where it is led was stopped: leading begins anew from where it is
NOT_REACHED = 1e-3  # m, and in entries of a rotation; a target missed by more is taken back to where the arm goes
BORDER = 0.005  # m inside the workspace, whose border the gateway guards
LEASH_S = 0.15  # away from the tool the speed is at most what is left of the leash, per this time
BORDER_S = 0.3  # towards the border the speed is at most the way that is left, per this time


@dataclass(frozen=True, slots=True)
class TeleoperationConfig:
    """How the arm answers the joystick.

    Attributes:
        speed_m_s: of the tool at full deflection.
        turn_rad_s: of the tool at full deflection.
        ramp_s: time from rest to full speed.
        gripper_share_s: share of the gripper's opening per second while its button is held.
        dead_zone: deflections below this count as none.
        joy_timeout_s: without a message of the joystick for so long, the arm stops.
        period_s: between two trajectories.
        horizon: rows of a trajectory; it stops after them when no other comes.
        leash_m: most that the target may be ahead of the tool.
        leash_rad: most that the target may be turned ahead of the tool.
    """

    speed_m_s: float = field(default=0.15, metadata={"range": (0.001, 1.0)})
    turn_rad_s: float = field(default=0.6, metadata={"range": (0.001, 3.0)})
    ramp_s: float = field(default=0.3, metadata={"range": (0.05, 2.0)})
    gripper_share_s: float = field(default=1.0, metadata={"range": (0.01, 10.0)})
    dead_zone: float = field(default=0.1, metadata={"range": (0.0, 0.9)})
    joy_timeout_s: float = field(default=0.25, metadata={"range": (0.02, 2.0)})
    period_s: float = field(default=0.05, metadata={"range": (0.01, 0.2)})
    horizon: int = field(default=4, metadata={"range": (2, 20)})
    leash_m: float = field(default=0.04, metadata={"range": (0.005, 0.2)})
    leash_rad: float = field(default=0.2, metadata={"range": (0.02, 1.0)})


class Teleoperation:
    """Leads one arm of a robot at a time.

    Args:
        spec: the robot.
        config: how it answers.
        layout: places of axes and buttons.

    Attributes:
        arm: number of the arm that is led.
        reason: why the arm is not led at the moment; empty while it is.
    """

    def __init__(
        self, spec: RobotSpec, config: TeleoperationConfig | None = None, layout: JoyLayout | None = None
    ) -> None:
        self.arm = 0
        self.reason = "no joystick yet"
        self._spec = spec
        self._config = config or TeleoperationConfig()
        self._layout = layout or JoyLayout()
        self._kinematics = Kinematics(spec)
        self._scheduler = ChunkScheduler(spec)
        self._presses = ButtonPresses()
        self._axes: NDArray[np.float64] = np.zeros(6)
        self._buttons: Sequence[int] = ()
        self._heard_at: float | None = None
        self._target: NDArray[np.float64] | None = None  # pose (4, 4); None while the arm is not led
        self._opening = 0.0
        self._missed = False  # whether the last target was not reached
        self._twist: NDArray[np.float64] = np.zeros(6)  # the axes, ramped
        self._solution: NDArray[np.float64] = spec.home  # where the arm is led to now, and how fast it moves there
        self._velocity: NDArray[np.float64] = np.zeros_like(spec.home)

    def on_joy(self, axes: Sequence[float], buttons: Sequence[int], steady: float) -> None:
        """Take a message of the joystick.

        Args:
            axes: deflections in [-1, 1].
            buttons: 1 where pressed.
            steady: time of its arrival, seconds of a steady clock.

        Raises:
            ValueError: it has too few axes or buttons, or deflections that are not finite; it counts as silence.
        """
        layout = self._layout
        if len(axes) < layout.most_axes or len(buttons) < layout.most_buttons:
            raise ValueError(
                f"joy: expected at least {layout.most_axes} axes and {layout.most_buttons} buttons, found {len(axes)} "
                f"and {len(buttons)}; set the parameters joystick.*"
            )
        twist = np.array([axes[place] for place in layout.axes], dtype=np.float64)
        if not np.isfinite(twist).all():
            raise ValueError(f"joy: expected finite deflections, found {list(twist)}")
        if layout.next_arm in self._presses.add(buttons) and self._target is None:
            self.arm = (self.arm + 1) % len(self._spec.arms)
        self._axes = np.where(np.abs(twist) < self._config.dead_zone, 0.0, np.clip(twist, -1.0, 1.0))
        self._buttons, self._heard_at = buttons, steady

    def step(self, positions: NDArray[np.float64], stamp: float, steady: float) -> JointTrajectory | None:
        """Where the arm is to go now; call it every `period_s`.

        Args:
            positions: (n,) measured joint positions, rad (m).
            stamp: present time on the clock of the stamps, seconds.
            steady: present time of the steady clock, seconds.

        Returns:
            A trajectory that ends in a stop: on the way while the deadman button is held, and once, to stop, when it no
            longer is. Otherwise None.
        """
        self.reason = self._why_not(steady)
        if self.reason:
            if self._target is None:
                return None
            self._target = None
            state = JointState(stamp, self._solution, self._velocity)
            return brake(state, STOP_EFFORT * self._spec.max_acceleration, STOP_EFFORT * self._spec.max_jerk)
        away = np.abs(positions - self._solution)[self._spec.arm_joints].max()
        if self._target is None or away > LOST:
            self._begin(positions)
        self._advance(positions)
        # From where the arm was led, not from where it is: what it lags behind would be added to its speed every time.
        before, rows = self._solution, self._followable(self._rows())
        led = self._kinematics.forward(rows[0], self.arm)
        self._missed = not np.allclose(led, self._target, atol=NOT_REACHED)
        if self._missed:
            self._target = led
        trajectory = self._scheduler.plan(ActionChunk(stamp, self._config.period_s, "joint", rows), before, stamp)
        self._solution, self._velocity = rows[0], trajectory.velocities[0]
        return trajectory

    def _why_not(self, steady: float) -> str:
        if self._heard_at is None:
            return "no joystick yet"
        if steady - self._heard_at > self._config.joy_timeout_s:
            return f"no message of the joystick for {steady - self._heard_at:.2f} s"
        if not self._pressed(self._layout.deadman):
            return "the deadman button is not held"
        return ""

    def _begin(self, positions: NDArray[np.float64]) -> None:
        self._missed = False
        self._target = self._kinematics.forward(positions, self.arm)
        self._opening = float(self._spec.gripper_openings(positions)[self.arm])
        self._solution, self._velocity = np.array(positions), np.zeros_like(positions)
        self._twist = np.zeros(6)
        self._scheduler.reset()

    def _advance(self, positions: NDArray[np.float64]) -> None:
        """Move the target by one period, and keep it near the tool."""
        config, tool = self._config, self._kinematics.forward(positions, self.arm)
        most = config.period_s / config.ramp_s
        self._twist = self._twist + np.clip(self._axes - self._twist, -most, most)
        target = self._moved(self._target)
        away, ahead = (float(np.linalg.norm(np.subtract(pose, tool)[:3, 3])) for pose in (self._target, target))
        furthest = away + (config.leash_m - away) * config.period_s / LEASH_S
        if ahead > furthest:
            target[:3, 3] = tool[:3, 3] + (target[:3, 3] - tool[:3, 3]) * (furthest / ahead)
        self._target = target
        turn = self._target[:3, :3] @ tool[:3, :3].T
        if np.arccos(np.clip((np.trace(turn) - 1) / 2, -1.0, 1.0)) > config.leash_rad:
            self._target[:3, :3] = tool[:3, :3]
        rate = self._pressed(self._layout.open_gripper) - self._pressed(self._layout.close_gripper)
        self._opening = float(np.clip(self._opening + rate * config.gripper_share_s * config.period_s, 0.0, 1.0))

    def _moved(self, pose: NDArray[np.float64]) -> NDArray[np.float64]:
        """The pose one period later."""
        config, arm = self._config, self._spec.arms[self.arm]
        share = config.period_s / BORDER_S
        above = np.maximum(arm.workspace_high - BORDER - pose[:3, 3], 0.0) * share
        below = np.maximum(pose[:3, 3] - arm.workspace_low - BORDER, 0.0) * share
        moved = pose.copy()
        moved[:3, 3] += np.clip(self._twist[:3] * config.speed_m_s * config.period_s, -below, above)
        moved[:3, :3] = rotation_from_rpy(self._twist[3:] * config.turn_rad_s * config.period_s) @ pose[:3, :3]
        return moved

    def _rows(self) -> NDArray[np.float64]:
        """Joint targets (horizon, n) of the target pose and its way ahead."""
        rows, pose, seed = [], self._target, self._solution
        for _ in range(self._config.horizon):
            seed = self._kinematics.inverse(pose, seed, self.arm)
            seed[self._spec.arms[self.arm].gripper] = self._gripper_position()
            rows.append(seed)
            pose = self._moved(pose)
        return np.array(rows)

    def _followable(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The rows (horizon, n), or the same way more slowly where a joint would be too fast or hastened too much.

        Towards its limit a joint goes at most so fast that it can still stop. Grippers are left to the scheduler.
        """
        spec, period, arm = self._spec, self._config.period_s, self._spec.arm_joints
        share = STRETCHED_ACCELERATION if self._missed else JOINT_ACCELERATION
        fastest, hardest = JOINT_SPEED * spec.max_velocity[arm], share * spec.max_acceleration[arm]
        followed, position, velocity = rows.copy(), self._solution[arm], self._velocity[arm]
        change = hardest * period / 2  # from the velocity at the beginning to that half way to the first row
        targets = np.clip(rows[:, arm], spec.lower[arm] + LIMIT_MARGIN, spec.upper[arm] - LIMIT_MARGIN)
        for k, target in enumerate(targets):
            wanted = (target - position) / period
            most = np.minimum(fastest, np.sqrt(2 * hardest * np.abs(targets[-1] - position)))
            wanted = wanted / max(1.0, np.max(np.abs(wanted) / np.maximum(most, MIN_SPEED))) - velocity
            velocity = velocity + wanted / max(1.0, np.max(np.abs(wanted) / change))
            position = np.clip(position + velocity * period, spec.lower[arm], spec.upper[arm])
            followed[k, arm] = position
            change = hardest * period
        return followed

    def _gripper_position(self) -> float:
        openings = np.full(len(self._spec.arms), self._opening)
        return float(self._spec.gripper_positions(openings)[self.arm])

    def _pressed(self, button: int) -> bool:
        return self._buttons[button] > PRESSED
