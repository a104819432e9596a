"""What an arm did and what it was told to do, as traces that can be judged: rest, way, and use of the limits."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policies.execution.trajectory import JointTrajectory
from policies.robots.spec import RobotSpec
from sim.trajectory_controller import TrajectoryController

SAMPLE_S = 0.002  # between two samples of the executed signal
WARM_UP_S = 5.0  # every trajectory has ended before it is that old
REST_SPEED = 0.02  # rad/s (m/s); slower is rest


@dataclass(frozen=True, slots=True)
class MotionTrace:
    """Joint positions and velocities over time.

    Attributes:
        times: (T,) seconds, increasing.
        positions: (T, n) rad (m).
        velocities: (T, n) rad/s (m/s).
    """

    times: NDArray[np.float64]
    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = (len(self.times), self.positions.shape[1]) if self.positions.ndim == 2 else None
        if self.times.ndim != 1 or self.positions.shape != shape or self.velocities.shape != shape:
            raise ValueError(
                f"trace: expected (T,) times and (T, n) positions and velocities, found {self.times.shape}, "
                f"{self.positions.shape}, {self.velocities.shape}"
            )

    def between(self, begin: float, end: float) -> MotionTrace:
        """The part from `begin` to `end`, seconds."""
        kept = (self.times >= begin) & (self.times <= end)
        return MotionTrace(self.times[kept], self.positions[kept], self.velocities[kept])

    def rest_after(self, begin: float, joints: ArrayLike, speed: float, lasting_s: float) -> float | None:
        """When the joints came to rest.

        Args:
            begin: earliest time, seconds.
            joints: places of the joints that count.
            speed: a joint rests below it, rad/s (m/s).
            lasting_s: for so long at least.

        Returns:
            Seconds from `begin` to the first sample of the rest, 0 where they never moved; None if there was none.
        """
        part = self.between(begin, np.inf)
        moving = (np.abs(part.velocities[:, np.asarray(joints)]) >= speed).any(axis=1)
        since: float | None = None
        for time, moves in zip(part.times, moving, strict=True):
            if moves:
                since = None
                continue
            since = time if since is None else since
            if time - since >= lasting_s:
                return 0.0 if since == part.times[0] else float(since - begin)
        return None

    def way(self, joints: ArrayLike) -> float:
        """How far one of the joints came, at most, from where it was at first; rad (m); 0 for an empty trace."""
        if not len(self.times):
            return 0.0
        positions = self.positions[:, np.asarray(joints)]
        return float(np.abs(positions - positions[0]).max())


@dataclass(frozen=True, slots=True)
class LimitUse:
    """The most of a robot's limits that a motion took, over joints and time; 1 is all that is allowed.

    Attributes:
        position: how far it went outside, rad (m); 0 or less is inside.
        velocity: share of the velocity limit.
        acceleration: share of the acceleration limit.
        jerk: share of the jerk limit.
    """

    position: float
    velocity: float
    acceleration: float
    jerk: float


def limit_use(trace: MotionTrace, spec: RobotSpec) -> LimitUse:
    """Judge a trace of at least three samples.

    Accelerations are differences of its velocities, and jerks of these. A step of the positions counts as velocity, so
    that a jump shows.

    Raises:
        ValueError: too few samples.
    """
    if len(trace.times) < 3:
        raise ValueError(f"trace: expected at least 3 samples, found {len(trace.times)}")
    durations = np.diff(trace.times)[:, None]
    rates, accelerations = np.diff(trace.positions, axis=0) / durations, np.diff(trace.velocities, axis=0) / durations
    return LimitUse(
        position=float(np.max([spec.lower - trace.positions, trace.positions - spec.upper])),
        velocity=float(np.max(np.abs(np.vstack([trace.velocities, rates])) / spec.max_velocity)),
        acceleration=float(np.max(np.abs(accelerations) / spec.max_acceleration)),
        jerk=float(np.max(np.abs(np.diff(accelerations, axis=0) / durations[1:]) / spec.max_jerk)),
    )


@dataclass(frozen=True, slots=True)
class SentCommand:
    """A trajectory for the arm's controller.

    Attributes:
        at: when it was sent, seconds on the clock of its stamp.
        trajectory: of all joints; None for an empty one, which cancels.
    """

    at: float
    trajectory: JointTrajectory | None


def executed(
    commands: Sequence[SentCommand], start: ArrayLike, spec: RobotSpec, begin: float, end: float
) -> MotionTrace:
    """What a joint trajectory controller, to which no command comes late, makes of commands.

    What the simulator's controllers truly followed is told on `simulator_node/executed`.

    Args:
        commands: in the order in which they were sent; those of `WARM_UP_S` before `begin` count, and the one before
            them, at whose end the arm is held.
        start: (n,) joint positions, rad (m), where the arm stood still before the first that counts.
        spec: the robot.
        begin: start of the trace, seconds.
        end: its end.
    """
    waiting = [command for command in commands if begin - WARM_UP_S <= command.at < end]
    waiting = [command for command in commands if command.at < begin - WARM_UP_S][-1:] + waiting
    controller = TrajectoryController(spec)
    controller.reset(start, min([begin - WARM_UP_S, *(command.at for command in waiting)]))
    times = np.arange(begin, end, SAMPLE_S)
    samples = []
    for now in times:
        while waiting and waiting[0].at <= now:
            command = waiting.pop(0)
            with suppress(ValueError):  # refused: what ran before goes on
                controller.accept(command.trajectory, command.at)
        samples.append(controller.sample(now))
    positions, velocities = (np.array(rows).reshape(len(times), -1) for rows in zip(*samples, strict=True))
    return MotionTrace(times, positions, velocities)


def moving_steps(trace: MotionTrace, joints: ArrayLike) -> NDArray[np.float64]:
    """Steps between samples while one of the joints moves: norms over the joints, rad (m)."""
    moving = (np.abs(trace.velocities[1:, np.asarray(joints)]) >= REST_SPEED).any(axis=1)
    return np.linalg.norm(_steps(trace, joints)[moving], axis=1)


def seam_jumps(trace: MotionTrace, taken: ArrayLike, joints: ArrayLike) -> NDArray[np.float64]:
    """How far a signal jumps where a command replaces another, whatever the speed there.

    The step into the first sample that follows the command is compared with the mean of the step before and the step
    after it. Where position, velocity and acceleration go on, hardly anything is left.

    Args:
        trace: equally spaced samples.
        taken: (K,) times of the first samples that follow a command; those at the ends of the trace do not count.
        joints: places of the joints that count.

    Returns:
        (J,) norms over the joints, rad (m), J <= K.
    """
    steps = _steps(trace, joints)
    across = np.searchsorted(trace.times, np.asarray(taken) - SAMPLE_S / 2) - 1
    across = across[(across >= 1) & (across < len(steps) - 1)]
    return np.linalg.norm(steps[across] - (steps[across - 1] + steps[across + 1]) / 2, axis=1)


def row_steps(trace: MotionTrace, taken: ArrayLike, row_s: float, joints: ArrayLike) -> NDArray[np.float64]:
    """Steps of a row's time before a command, from where it replaced another, and after that.

    Args:
        trace: what was executed.
        taken: (K,) times of the first samples that follow a command.
        row_s: time between two rows of a policy, seconds.
        joints: places of the joints that count.

    Returns:
        (J, 3) norms over the joints, rad (m), of the J <= K commands for which the trace is long enough.
    """
    if not len(trace.times):
        return np.empty((0, 3))
    begins = np.asarray(taken) - SAMPLE_S
    begins = begins[(begins - row_s >= trace.times[0]) & (begins + 2 * row_s <= trace.times[-1])]
    ends = begins[:, None] + row_s * np.arange(-1, 3)
    positions = [np.interp(ends, trace.times, trace.positions[:, joint]) for joint in np.asarray(joints)]
    return np.linalg.norm(np.diff(positions, axis=-1), axis=0)


def _steps(trace: MotionTrace, joints: ArrayLike) -> NDArray[np.float64]:
    return np.diff(trace.positions[:, np.asarray(joints)], axis=0)
