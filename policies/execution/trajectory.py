"""`JointTrajectory`, what the stack sends to an arm, and `Motion`, what a controller makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

HOLD_DURATION = 0.1  # s; a knot in the past would be refused by a controller
BRAKE_STEP = 1e-5  # s; joints stop at multiples of it, so that no two knots fall together


@dataclass(frozen=True, slots=True)
class JointTrajectory:
    """Knots of positions and velocities, joined by cubic Hermite segments, ending at rest.

    Attributes:
        stamp: start time in seconds; knot k is due at `stamp + times[k]`.
        times: (T,) seconds, strictly increasing, > 0; kept as whole nanoseconds, as a message carries them, so that a
            trajectory is the same to the last bit before and after a trip over ROS.
        positions: (T, n) rad (m), in `RobotSpec.joint_names` order.
        velocities: (T, n) rad/s (m/s); the last row is zero.
    """

    stamp: float
    times: NDArray[np.float64]
    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]

    def __post_init__(self) -> None:
        times, positions, velocities = (
            np.asarray(value, dtype=np.float64) for value in (self.times, self.positions, self.velocities)
        )
        if times.ndim != 1 or len(times) == 0 or positions.ndim != 2:
            raise ValueError(
                f"trajectory: expected (T,) times and (T, n) positions, found {times.shape}, {positions.shape}"
            )
        if positions.shape != velocities.shape or len(positions) != len(times):
            raise ValueError(
                f"trajectory: expected as many knots everywhere, found times {times.shape}, "
                f"positions {positions.shape}, velocities {velocities.shape}"
            )
        times = np.rint(times * 1e9) / 1e9
        # Written so that NaN is refused as well.
        if not (times[0] > 0 and (np.diff(times) > 0).all() and np.isfinite(times[-1])):
            raise ValueError(f"times: expected strictly increasing from above 0, found {times}")
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "velocities", velocities)

    @property
    def end(self) -> float:
        """Time in seconds when the last knot is due."""
        return float(self.stamp + self.times[-1])


@dataclass(frozen=True, slots=True)
class JointState:
    """Where the joints are, or ought to be, at one instant.

    Attributes:
        time: seconds on the trajectory's clock.
        positions: (n,) rad (m).
        velocities: (n,) rad/s (m/s).
    """

    time: float
    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]


class Motion:
    """The curve that a controller follows when a trajectory replaces what it did before.

    From the state at the time of replacement a cubic leads to the first knot, cubics join the knots, and the last
    knot is held. A knot that is already past is not waited for: the curve then begins inside a later segment.

    Args:
        trajectory: what to follow.
        start: desired state at the time of replacement.
    """

    def __init__(self, trajectory: JointTrajectory, start: JointState) -> None:
        self.start = start
        due = trajectory.stamp + trajectory.times
        first = int(np.searchsorted(due, start.time, side="right"))
        if first == 0:
            self.knots = np.concatenate([[start.time], due])
            positions = np.vstack([start.positions, trajectory.positions])
            velocities = np.vstack([start.velocities, trajectory.velocities])
        else:
            kept = slice(first - 1, None)
            self.knots, positions, velocities = due[kept], trajectory.positions[kept], trajectory.velocities[kept]
        self.positions, self.velocities = positions, velocities
        self.durations = np.diff(self.knots)
        self.coefficients = _cubics(positions, velocities, self.durations)

    @property
    def end(self) -> float:
        """Time in seconds from which on the last knot is held."""
        return float(self.knots[-1])

    def sample(self, time: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the desired positions and velocities, (n,) each, at a time in seconds not before the start."""
        if time >= self.knots[-1]:
            return self.positions[-1].copy(), self.velocities[-1].copy()
        k = max(int(np.searchsorted(self.knots, time, side="right")) - 1, 0)
        s = time - self.knots[k]
        a, b, c, d = self.coefficients[k]
        return a + s * (b + s * (c + s * d)), b + s * (2 * c + s * 3 * d)

    def sample_many(self, times: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the desired positions and velocities, (K, n) each, at K times in seconds not before the start."""
        times = np.asarray(times, dtype=np.float64)
        ended = times >= self.knots[-1]
        positions = np.repeat(self.positions[-1:], len(times), axis=0)
        velocities = np.repeat(self.velocities[-1:], len(times), axis=0)
        times = times[~ended]
        k = np.maximum(np.searchsorted(self.knots, times, side="right") - 1, 0)
        s = (times - self.knots[k])[:, None]
        a, b, c, d = np.moveaxis(self.coefficients[k], 1, 0) if len(k) else np.zeros((4, 0, positions.shape[1]))
        positions[~ended] = a + s * (b + s * (c + s * d))
        velocities[~ended] = b + s * (2 * c + s * 3 * d)
        return positions, velocities

    def at(self, time: float) -> JointState:
        """Return the desired state at a time in seconds not before the start."""
        return JointState(time, *self.sample(time))


def hold(positions: ArrayLike, stamp: float) -> JointTrajectory:
    """Return the trajectory that holds positions (n,), rad (m), from `stamp` on."""
    positions = np.asarray(positions, dtype=np.float64)[None]
    return JointTrajectory(stamp, np.array([HOLD_DURATION]), positions, np.zeros_like(positions))


def brake(state: JointState, max_acceleration: ArrayLike, stamp: float | None = None) -> JointTrajectory:
    """Return the trajectory that stops every joint as soon as it can at constant deceleration, and holds.

    Args:
        state: desired state at the moment of braking.
        max_acceleration: (n,) rad/s^2 (m/s^2), not exceeded.
        stamp: stamp of the trajectory in seconds, not after `state.time`; that time if None.
    """
    stamp = state.time if stamp is None else stamp
    steps = np.ceil(np.abs(state.velocities) / (np.asarray(max_acceleration) * BRAKE_STEP) - 1e-9)
    ends = np.unique(np.append(steps[steps > 0], max(steps.max(), round(HOLD_DURATION / BRAKE_STEP)))) * BRAKE_STEP
    moving = steps > 0
    full = np.where(moving, steps * BRAKE_STEP, 1.0)  # (n,)
    elapsed = np.minimum(ends[:, None], full)  # (T, n)
    velocities = np.where(moving, state.velocities * (1 - elapsed / full), 0.0)
    positions = state.positions + np.where(moving, state.velocities * (elapsed - elapsed**2 / (2 * full)), 0.0)
    return JointTrajectory(stamp, state.time - stamp + ends, positions, velocities)


def _cubics(positions: NDArray, velocities: NDArray, durations: NDArray) -> NDArray[np.float64]:
    """Power coefficients (T - 1, 4, n) of the Hermite cubics between T knots, in time since the segment's start."""
    h = durations[:, None]
    slope = np.diff(positions, axis=0) / h
    v0, v1 = velocities[:-1], velocities[1:]
    return np.stack([positions[:-1], v0, (3 * slope - 2 * v0 - v1) / h, (v0 + v1 - 2 * slope) / h**2], axis=1)
