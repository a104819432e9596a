"""`JointTrajectory`, what the stack sends to an arm, and `Motion`, what a controller makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

HOLD_DURATION = 0.5  # s; a controller refuses what has ended before it arrives
BRAKE_STEP = 1e-4  # s; the phases of a brake are multiples of it, so that no two knots fall together
DERIVATIVE_FACTORS = [np.array([np.prod(np.arange(k, k - m, -1)) for k in range(m, 6)]) for m in range(4)]
"""What the coefficients of s**m, s**(m + 1), ... s**5 are multiplied by in the m-th derivative."""


@dataclass(frozen=True, slots=True)
class JointTrajectory:
    """Knots of positions and velocities, ending at rest.

    With accelerations the knots are joined by quintic Hermite segments, without by cubic ones, as ros2_control's
    JointTrajectoryController does.

    Attributes:
        stamp: start time in seconds; knot k is due at `stamp + times[k]`.
        times: (T,) seconds, strictly increasing, > 0; kept as whole nanoseconds, as a message carries them, so that a
            trajectory is the same to the last bit before and after a trip over ROS.
        positions: (T, n) rad (m), in `RobotSpec.joint_names` order.
        velocities: (T, n) rad/s (m/s); the last row is zero.
        accelerations: (T, n) rad/s^2 (m/s^2), or None.
    """

    stamp: float
    times: NDArray[np.float64]
    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]
    accelerations: NDArray[np.float64] | None = None

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
        if self.accelerations is not None:
            accelerations = np.asarray(self.accelerations, dtype=np.float64)
            if accelerations.shape != positions.shape:
                raise ValueError(f"accelerations: expected {positions.shape}, found {accelerations.shape}")
            object.__setattr__(self, "accelerations", accelerations)

    @property
    def end(self) -> float:
        """Time in seconds when the last knot is due."""
        return float(self.stamp + self.times[-1])

    @property
    def knot_accelerations(self) -> NDArray[np.float64]:
        """(T, n) rad/s^2 (m/s^2).

        Raises:
            ValueError: the trajectory has none.
        """
        if self.accelerations is None:
            raise ValueError("accelerations: expected some, found none")
        return self.accelerations

    def select(self, knots: NDArray | slice, joints: Sequence[int] | slice = slice(None)) -> JointTrajectory:
        """Return the trajectory of some of its knots (indices or a mask) and joints, with the same stamp."""
        accelerations = None if self.accelerations is None else self.accelerations[knots][:, joints]
        positions, velocities = self.positions[knots][:, joints], self.velocities[knots][:, joints]
        return JointTrajectory(self.stamp, self.times[knots], positions, velocities, accelerations)

    def then(self, following: JointTrajectory) -> JointTrajectory:
        """Return the trajectory that goes on with the knots of another of the same stamp; both have accelerations."""
        return JointTrajectory(
            self.stamp,
            np.append(self.times, following.times),
            np.vstack([self.positions, following.positions]),
            np.vstack([self.velocities, following.velocities]),
            np.vstack([self.knot_accelerations, following.knot_accelerations]),
        )


@dataclass(frozen=True, slots=True)
class JointState:
    """Where the joints are, or ought to be, at one instant.

    Attributes:
        time: seconds on the trajectory's clock.
        positions: (n,) rad (m).
        velocities: (n,) rad/s (m/s).
        accelerations: (n,) rad/s^2 (m/s^2); zero where they are not known.
    """

    time: float
    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]
    accelerations: NDArray[np.float64] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.accelerations is None:
            object.__setattr__(self, "accelerations", np.zeros_like(self.positions, dtype=np.float64))


class Motion:
    """The curve that a controller follows when a trajectory replaces what it did before.

    From the state at the time of replacement a segment leads to the first knot, segments join the knots, and the last
    knot is held. With accelerations, positions, velocities and accelerations are continuous, at the replacement too. A
    knot that is already past is not waited for: the curve then begins inside a later segment.

    Args:
        trajectory: what to follow.
        start: desired state at the time of replacement.
    """

    def __init__(self, trajectory: JointTrajectory, start: JointState) -> None:
        self.start = start
        # Relative to the stamp: seconds since 1970 have no room for the nanoseconds between knots.
        self._stamp = trajectory.stamp
        begin = start.time - self._stamp
        first = int(np.searchsorted(trajectory.times, begin, side="right"))
        knots = [trajectory.positions, trajectory.velocities]
        before = [start.positions, start.velocities]
        if trajectory.accelerations is not None:
            knots.append(trajectory.accelerations)
            before.append(start.accelerations)
        if first == 0:
            self._times = np.append(begin, trajectory.times)
            rows = [np.vstack([value, values]) for value, values in zip(before, knots, strict=True)]
        else:
            self._times = trajectory.times[first - 1 :]
            rows = [values[first - 1 :] for values in knots]
        self.positions, self.velocities = rows[:2]
        self.accelerations = rows[2] if len(rows) > 2 else None
        self.durations = np.diff(self._times)
        self.coefficients = segments(self.positions, self.velocities, self.accelerations, self.durations)

    @property
    def knots(self) -> NDArray[np.float64]:
        """(K,) times in seconds at which its segments begin and end."""
        return self._stamp + self._times

    def knots_within(self, begin: float, end: float) -> NDArray[np.float64]:
        """Those of `knots` that lie between two times in seconds, at least `BRAKE_STEP` / 2 from both."""
        knots = self.knots
        return knots[(knots > begin + BRAKE_STEP / 2) & (knots < end - BRAKE_STEP / 2)]

    @property
    def end(self) -> float:
        """Time in seconds from which on the last knot is held."""
        return float(self.knots[-1])

    def sample(self, time: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the desired positions and velocities, (n,) each, at a time in seconds not before the start."""
        positions, velocities = self._derivatives(time, orders=2)
        return positions, velocities

    def sample_many(self, times: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the desired positions and velocities, (K, n) each, at K times in seconds not before the start."""
        times = np.asarray(times, dtype=np.float64)
        ended = times >= self.end
        positions = np.repeat(self.positions[-1:], len(times), axis=0)
        velocities = np.repeat(self.velocities[-1:], len(times), axis=0)
        times = times[~ended] - self._stamp
        k = np.maximum(np.searchsorted(self._times, times, side="right") - 1, 0)
        s = (times - self._times[k])[:, None]
        c = self.coefficients[k]  # (K, 6, n)
        positions[~ended] = _horner(c, s, 0)
        velocities[~ended] = _horner(c, s, 1)
        return positions, velocities

    def at(self, time: float) -> JointState:
        """Return the desired state at a time in seconds not before the start."""
        return JointState(time, *self._derivatives(time, orders=3))

    def remaining(self, now: float) -> JointTrajectory | None:
        """Return the knots due after `now` as a trajectory stamped `now`, which is followed as this one is; or None."""
        left = self._times[1:] - (now - self._stamp)
        due = left > BRAKE_STEP
        if not due.any():
            return None
        accelerations = None if self.accelerations is None else self.accelerations[1:][due]
        return JointTrajectory(now, left[due], self.positions[1:][due], self.velocities[1:][due], accelerations)

    def _derivatives(self, time: float, orders: int) -> list[NDArray[np.float64]]:
        """Positions and their first derivatives, (n,) each."""
        if time >= self.end:
            still = [np.zeros_like(self.positions[-1])] * (orders - 2)
            return [self.positions[-1].copy(), self.velocities[-1].copy(), *still]
        elapsed = time - self._stamp
        k = max(int(np.searchsorted(self._times, elapsed, side="right")) - 1, 0)
        return [_horner(self.coefficients[k], elapsed - self._times[k], order) for order in range(orders)]


def approached(
    trajectory: JointTrajectory, start: JointState, duration: float, joints: Sequence[int]
) -> JointTrajectory:
    """Return the trajectory so that it begins as some joints move, and is itself again after a while.

    What separates it from `start` at the time of `start`, before its first knot on the line of that knot's velocity,
    is added to the knots of the next `duration` seconds, less and less, along a quintic.

    Args:
        trajectory: without accelerations.
        start: where the joints are, and how fast.
        duration: seconds.
        joints: places of those that count; the others are left as they are.
    """
    after = trajectory.stamp + trajectory.times - start.time
    coming = np.flatnonzero((after > 0) & (after < duration))
    coming = coming[coming < len(after) - 1]  # the stop stays one
    if not len(coming):
        return trajectory
    first = coming[0]
    place = trajectory.positions[first] - after[first] * trajectory.velocities[first]
    away = np.zeros((2, 2, len(place)))  # positions and velocities, now and then
    away[0, 0, joints] = (start.positions - place)[joints]
    away[1, 0, joints] = (start.velocities - trajectory.velocities[first])[joints]
    (way,) = segments(away[0], away[1], np.zeros_like(away[0]), np.array([duration]))
    positions, velocities = trajectory.positions.copy(), trajectory.velocities.copy()
    positions[coming] += [_horner(way, after[knot], 0) for knot in coming]
    velocities[coming] += [_horner(way, after[knot], 1) for knot in coming]
    return replace(trajectory, positions=positions, velocities=velocities)


def hold(positions: ArrayLike, stamp: float) -> JointTrajectory:
    """Return the trajectory that holds positions (n,), rad (m), from `stamp` on."""
    positions = np.asarray(positions, dtype=np.float64)[None]
    return JointTrajectory(stamp, np.array([HOLD_DURATION]), positions, np.zeros_like(positions))


def smooth(trajectory: JointTrajectory, start: JointState) -> JointTrajectory:
    """Return the trajectory with accelerations, so that the motion from `start` on has continuous accelerations.

    They are those of `knot_accelerations`. A trajectory that has some is returned as it is.
    """
    if trajectory.accelerations is not None:
        return trajectory
    durations = np.diff(np.append(start.time - trajectory.stamp, trajectory.times))
    positions = np.vstack([start.positions, trajectory.positions])
    velocities = np.vstack([start.velocities, trajectory.velocities])
    return replace(trajectory, accelerations=knot_accelerations(positions, velocities, durations))


def brake(
    state: JointState, max_acceleration: ArrayLike, max_jerk: ArrayLike, stamp: float | None = None
) -> JointTrajectory:
    """Return the trajectory that stops every joint in its own time, and holds.

    The acceleration of every joint goes at constant jerk to a braking one, stays there, and goes back to zero. The two
    ramps are as long as the slowest joint's may be, so that knots keep apart; a joint comes to rest at most 1.5 of
    these times max_acceleration / max_jerk (a few milliseconds) later than it could.

    Args:
        state: desired state at the moment of braking.
        max_acceleration: (n,) rad/s^2 (m/s^2), not exceeded.
        max_jerk: (n,) rad/s^3 (m/s^3), not exceeded.
        stamp: stamp of the trajectory in seconds, not after `state.time`; that time if None.
    """
    stamp = state.time if stamp is None else stamp
    moving = (state.velocities != 0) | (state.accelerations != 0)
    limit = np.asarray(max_acceleration)
    ramp = BRAKE_STEP * np.ceil(np.max(limit / max_jerk) / BRAKE_STEP - 1e-9)
    # From one limit to the other takes two ramps, back to zero one; between, the velocity that is left goes at `limit`.
    left = state.velocities + state.accelerations * ramp
    steady = BRAKE_STEP * np.ceil((np.abs(left) / limit - 1.5 * ramp).clip(min=0.0) / BRAKE_STEP - 1e-9)
    braking = -left / (1.5 * ramp + steady)
    ends = np.array([np.full_like(steady, 2 * ramp), 2 * ramp + steady, 3 * ramp + steady])
    # As whole steps: sums of them differ in their last bits.
    steps = np.unique(np.rint(np.append(ends[:, moving], HOLD_DURATION) / BRAKE_STEP))
    times = state.time - stamp + steps * BRAKE_STEP
    phases = np.stack([np.full_like(steady, 2 * ramp), steady, np.full_like(steady, ramp)])
    jerks = np.stack([(braking - state.accelerations) / (2 * ramp), np.zeros_like(braking), -braking / ramp])
    p, v, a = _integrate(state, phases, jerks, steps * BRAKE_STEP)
    still = steps[:, None] * BRAKE_STEP > ends[2] - BRAKE_STEP / 2
    v[still] = a[still] = 0.0
    return JointTrajectory(stamp, times, p, v, a)


def _integrate(state: JointState, phases: NDArray, jerks: NDArray, times: NDArray) -> tuple[NDArray, ...]:
    """Positions, velocities, accelerations (T, n) after (T,) seconds in phases (k, n) of constant jerks (k, n)."""
    shape = len(times), len(state.positions)
    p, v, a = (np.tile(value, (shape[0], 1)) for value in (state.positions, state.velocities, state.accelerations))
    left = np.broadcast_to(times[:, None], shape)
    for duration, jerk in zip(phases, jerks, strict=True):
        s = np.clip(left, 0.0, duration)
        p += s * (v + s * (a / 2 + s * jerk / 6))
        v += s * (a + s * jerk / 2)
        a += s * jerk
        left = left - duration
    return p, v, a


def knot_accelerations(positions: NDArray, velocities: NDArray, durations: NDArray) -> NDArray[np.float64]:
    """Accelerations (..., T, n) for the last T of T + 1 knots (..., T + 1, n) that are `durations` (..., T) apart.

    At each knot the cubics before and after it ask for an acceleration: where both have the same sign the smaller one
    is taken, elsewhere zero, so that a joint that rests goes on resting. The last knot has none.
    """
    c = segments(positions, velocities, None, durations)
    before = _horner(c, durations[..., None], 2)[..., :-1, :]
    after = 2 * c[..., 1:, 2, :]
    smaller = np.where(before * after > 0, np.sign(before) * np.minimum(abs(before), abs(after)), 0.0)
    return np.concatenate([smaller, np.zeros_like(smaller, shape=(*c.shape[:-3], 1, c.shape[-1]))], axis=-2)


def segments(
    positions: NDArray, velocities: NDArray, accelerations: NDArray | None, durations: NDArray
) -> NDArray[np.float64]:
    """Power coefficients (..., T, 6, n) of the Hermite segments between T + 1 knots, in time since each one's start.

    Quintics, or cubics where there are no accelerations. Knots are (..., T + 1, n), durations (..., T).
    """
    h = durations[..., None]
    slope = np.diff(positions, axis=-2) / h
    p0, v0, v1 = positions[..., :-1, :], velocities[..., :-1, :], velocities[..., 1:, :]
    if accelerations is None:
        zero = np.zeros_like(v0)
        c2, c3 = (3 * slope - 2 * v0 - v1) / h, (v0 + v1 - 2 * slope) / h**2
        return np.stack([np.broadcast_to(p0, v0.shape), v0, c2, c3, zero, zero], axis=-2)
    a0, a1 = accelerations[..., :-1, :], accelerations[..., 1:, :]
    c3 = (20 * slope - 8 * v1 - 12 * v0 - (3 * a0 - a1) * h) / (2 * h**2)
    c4 = (-30 * slope + 14 * v1 + 16 * v0 + (3 * a0 - 2 * a1) * h) / (2 * h**3)
    c5 = (12 * slope - 6 * (v0 + v1) - (a0 - a1) * h) / (2 * h**4)
    return np.stack([np.broadcast_to(p0, v0.shape), v0, a0 / 2, c3, c4, c5], axis=-2)


def _horner(coefficients: NDArray, s: ArrayLike, order: int) -> NDArray[np.float64]:
    """A derivative of polynomials (..., 6, n) at times since the segments' starts, which broadcast to (..., n)."""
    s = np.asarray(s)
    value = np.zeros_like(coefficients[..., 0, :])
    for power in range(5, order - 1, -1):
        value = value * s + DERIVATIVE_FACTORS[order][power - order] * coefficients[..., power, :]
    return value
