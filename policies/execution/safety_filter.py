"""The last judge of a trajectory: pass it, slow it down as a whole, end it earlier, or reject it with a reason.

What is bounded is the curve that the controller will follow (`trajectory.Motion`), from its present desired state
through all knots, with continuous positions, velocities and accelerations (`trajectory.smooth`): each of these and the
jerk, by `curve_bounds`. Where a curve within these limits ends at rest, it can also be left at any time by a brake at
the limits of acceleration A and jerk J. A joint's stop may end up to 1.5 * A / J later than its quickest one.

A trajectory that is too fast is slowed as a whole, which keeps its path; clipping single joints would bend it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policies.execution.curve_bounds import curve_bounds
from policies.execution.gripper_rate import with_reachable_grippers
from policies.execution.trajectory import (
    JointState,
    JointTrajectory,
    Motion,
    approached,
    brake,
    knot_accelerations,
    segments,
    smooth,
)
from policies.execution.workspace import Workspace
from policies.robots.spec import RobotSpec

Limit = Literal["position", "velocity", "acceleration", "jerk", "jump", "workspace"]
LIMITS: tuple[Limit, ...] = get_args(Limit)

POSITION_TOLERANCE = 1e-6  # rad (m), for rounding
ROUNDING = 1e-9  # of the other limits
MIN_FIRST_SEGMENT = 0.02  # s; a knot nearer than this is as good as past
SCALE_RATIO = 1.07  # ratio of the time scales that are tried
MEETING_S, LONGEST_MEETING_S = 0.2, 2.0  # to where a controller comes to rest of which nobody knows what it follows
EASING = 0.98  # of the limits that a gripper's stop may use: room for rounding


@dataclass(frozen=True, slots=True)
class SafetyLimits:
    """How much of a robot's limits a trajectory may use.

    Attributes:
        velocity_fraction: of `RobotSpec.max_velocity`.
        acceleration_fraction: of `RobotSpec.max_acceleration`.
        jerk_fraction: of `RobotSpec.max_jerk`.
        max_jump: rad; most that the first knot may lie from the measured position of any arm joint.
        max_time_scale: most that a trajectory is slowed before it is rejected.
    """

    velocity_fraction: float = field(default=0.9, metadata={"range": (0.01, 1.0)})
    acceleration_fraction: float = field(default=0.9, metadata={"range": (0.01, 1.0)})
    jerk_fraction: float = field(default=0.9, metadata={"range": (0.01, 1.0)})
    max_jump: float = field(default=0.35, metadata={"range": (0.01, 3.0)})
    max_time_scale: float = field(default=5.0, metadata={"range": (1.0, 100.0)})

    def __post_init__(self) -> None:
        for name in ("velocity_fraction", "acceleration_fraction", "jerk_fraction"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected above 0 and at most 1, found {getattr(self, name)}")
        if not self.max_jump > 0:
            raise ValueError(f"max_jump: expected > 0 rad, found {self.max_jump}")
        if not self.max_time_scale >= 1:
            raise ValueError(f"max_time_scale: expected >= 1, found {self.max_time_scale}")


@dataclass(frozen=True, slots=True)
class SafetyVerdict:
    """What may be sent.

    Attributes:
        trajectory: the trajectory with accelerations, else as it came or slowed or shortened; None when it is rejected.
        reason: why it was changed or rejected; empty when it passed as it came.
        time_scale: how many times slower it became; 1 when it was not slowed.
        limits: those for which it was changed or rejected; of position, velocity, acceleration and jerk the first.
    """

    trajectory: JointTrajectory | None
    reason: str = ""
    time_scale: float = 1.0
    limits: tuple[Limit, ...] = ()


class _Excess(NamedTuple):
    limit: Limit
    reason: str


class SafetyFilter:
    """Judges trajectories for one robot.

    Args:
        spec: the robot.
        limits: how much of its limits may be used.
    """

    def __init__(self, spec: RobotSpec, limits: SafetyLimits | None = None) -> None:
        self.spec = spec
        self.limits = limits or SafetyLimits()
        self.max_velocity = self.limits.velocity_fraction * spec.max_velocity
        self.max_acceleration = self.limits.acceleration_fraction * spec.max_acceleration
        self.max_jerk = self.limits.jerk_fraction * spec.max_jerk
        for name in ("max_velocity", "max_acceleration", "max_jerk"):
            if not (getattr(spec, name) > 0).all():
                raise ValueError(f"{name} of {spec.name}: expected limits > 0, found {getattr(spec, name)}")
        self._workspace = Workspace(spec)
        count = int(np.log(self.limits.max_time_scale) / np.log(SCALE_RATIO))
        self._scales = np.unique(np.append(SCALE_RATIO ** np.arange(count + 1), self.limits.max_time_scale))

    def apply(
        self,
        trajectory: JointTrajectory,
        positions: ArrayLike,
        velocities: ArrayLike,
        now: float | None = None,
        start: JointState | None = None,
        speed: float = 1.0,
        catch_up_s: float = 0.0,
    ) -> SafetyVerdict:
        """Judge a trajectory that would replace the running one.

        Args:
            trajectory: what is asked for.
            positions: (n,) measured joint positions, rad (m).
            velocities: (n,) measured joint velocities, rad/s (m/s).
            now: time of the replacement in seconds; the trajectory's stamp if None.
            start: desired state of the controller at `now`; the measured state if None.
            speed: above 0 and at most 1; the trajectory is slowed by its inverse, and further where it must be.
            catch_up_s: for so long the arm is led into a trajectory that begins elsewhere, see `approached`; 0 for not
                at all. One with accelerations is followed as it came.
        """
        now = trajectory.stamp if now is None else now
        measured = JointState(now, np.asarray(positions, dtype=np.float64), np.asarray(velocities, dtype=np.float64))
        start = measured if start is None else start
        reason = self._malformed(trajectory, measured) or self._malformed_state(start)
        if reason:
            return SafetyVerdict(None, reason)
        remaining = _remaining(trajectory, now)
        if remaining is None:
            return SafetyVerdict(
                None, f"trajectory: expected knots after {now:.3f} s, found its end at {trajectory.end:.3f} s"
            )
        misplaced = self._misplaced(remaining, measured)
        if misplaced is not None:
            return SafetyVerdict(None, misplaced.reason, limits=(misplaced.limit,))
        if catch_up_s and remaining.accelerations is None:
            remaining = approached(remaining, start, catch_up_s, self.spec.arm_joints)
        reachable, late = with_reachable_grippers(remaining, start, self.spec.grippers, self.max_velocity)
        verdict = self._fit(reachable, start, 1.0 / speed)
        if not late or verdict.trajectory is None:
            return verdict
        names = ", ".join(self.spec.joint_names[joint] for joint in late)
        return replace(verdict, reason="; ".join(filter(None, [verdict.reason, f"{names} led to its target slowly"])))

    def _malformed(self, trajectory: JointTrajectory, measured: JointState) -> str:
        count = len(self.spec.joint_names)
        if trajectory.positions.shape[1] != count:
            return f"trajectory: expected {count} joints, found {trajectory.positions.shape[1]}"
        for name, values in (
            ("position", trajectory.positions),
            ("velocity", trajectory.velocities),
            ("acceleration", trajectory.accelerations),
        ):
            if values is None:
                continue
            bad = ~np.isfinite(values)
            if bad.any():
                knot, joint = np.argwhere(bad)[0]
                found = values[knot, joint]
                return (
                    f"{name} of {self.spec.joint_names[joint]}: expected a finite value, found {found} at knot {knot}"
                )
        if trajectory.velocities[-1].any():
            joint = int(np.argmax(np.abs(trajectory.velocities[-1])))
            found = trajectory.velocities[-1, joint]
            return f"velocity of {self.spec.joint_names[joint]}: expected 0 at the last knot, found {found:.4g}"
        return self._malformed_state(measured)

    def _malformed_state(self, state: JointState) -> str:
        expected = (len(self.spec.joint_names),)
        if state.positions.shape != expected or state.velocities.shape != expected:
            return (
                f"joint state: expected {expected[0]} joints, found {state.positions.shape}, {state.velocities.shape}"
            )
        if not (np.isfinite(state.positions).all() and np.isfinite(state.velocities).all()):
            return "joint state: expected finite values, found some that are not"
        return ""

    def _misplaced(self, trajectory: JointTrajectory, measured: JointState) -> _Excess | None:
        low, high = self.spec.lower - POSITION_TOLERANCE, self.spec.upper + POSITION_TOLERANCE
        outside = (trajectory.positions < low) | (trajectory.positions > high)
        if outside.any():
            knot, joint = np.argwhere(outside)[0]
            return _Excess(
                "position",
                f"position of {self.spec.joint_names[joint]}: expected within [{self.spec.lower[joint]:.4f}, "
                f"{self.spec.upper[joint]:.4f}], found {trajectory.positions[knot, joint]:.4f} at knot {knot}",
            )
        # The gripper may be kept from its command by what it holds.
        jump = np.abs(trajectory.positions[0] - measured.positions)
        jump[self.spec.grippers] = 0.0
        joint = int(np.argmax(jump))
        if jump[joint] > self.limits.max_jump:
            return _Excess(
                "jump",
                f"jump of {self.spec.joint_names[joint]}: expected at most {self.limits.max_jump:.3f} rad from the "
                f"measured position, found {jump[joint]:.3f} rad",
            )
        return None

    def _fit(self, trajectory: JointTrajectory, start: JointState, slowest: float) -> SafetyVerdict:
        scale, scaled, motion, too_fast = self._at_scale(trajectory, start, slowest)
        reason = ""
        limits: tuple[Limit, ...] = ()
        if too_fast is not None:
            limits = (too_fast.limit,)
            for candidate in self._scales_for_the_arms(trajectory, start, slowest):
                scale, scaled, motion, still = self._at_scale(trajectory, start, candidate)
                if still is None:
                    break
            else:
                vain = f"{too_fast.reason}; slowing it up to {self.limits.max_time_scale:g} times does not help"
                return SafetyVerdict(None, vain, limits=limits)
            reason = f"slowed {scale:.2f} times: {too_fast.reason}"
        exit_time, exits = self._workspace.exit(motion, motion.knots[0])
        if not exits:
            return SafetyVerdict(scaled, reason, float(scale), limits)
        limits = (*limits, "workspace")
        shortened = self._shortened(scaled, start, exit_time)
        if shortened is None:
            return SafetyVerdict(None, exits, limits=limits)
        return SafetyVerdict(shortened, f"stopped early: {exits}", float(scale), limits)

    def _scales_for_the_arms(self, trajectory: JointTrajectory, start: JointState, slowest: float) -> NDArray:
        """Those of the time scales at which all joints but the grippers keep their limits: all at once, so quickly."""
        arm, scales = self.spec.arm_joints, slowest * self._scales[1:]
        durations = scales[:, None] * np.diff(np.append(start.time - trajectory.stamp, trajectory.times))
        positions = np.vstack([start.positions, trajectory.positions])[:, arm]

        def at_knots(first: NDArray, rows: NDArray) -> NDArray:
            return np.concatenate([np.broadcast_to(first[arm], rows[:, :1].shape), rows], axis=1)  # (S, T + 1, arm)

        velocities = at_knots(start.velocities, trajectory.velocities[:, arm] / scales[:, None, None])
        if trajectory.accelerations is None:
            accelerations = knot_accelerations(positions, velocities, durations)
        else:
            accelerations = trajectory.accelerations[:, arm] / scales[:, None, None] ** 2
        curves = segments(positions, velocities, at_knots(start.accelerations, accelerations), durations)
        low, high = (end[arm] for end in self._range(start))
        place = curve_bounds(curves, durations, 0)  # (K, S, T, arm)
        fits = (np.maximum(low - place, place - high) <= POSITION_TOLERANCE).all(axis=(0, 2, 3))
        for order, limit in enumerate((self.max_velocity, self.max_acceleration, self.max_jerk), start=1):
            values = np.abs(curve_bounds(curves, durations, order))
            fits &= (values <= limit[arm] * (1 + ROUNDING)).all(axis=(0, 2, 3))
        return scales[fits]

    def _at_scale(
        self, trajectory: JointTrajectory, start: JointState, scale: float
    ) -> tuple[float, JointTrajectory, Motion, _Excess | None]:
        scaled, motion = self._ease_grippers(smooth(_slowed(trajectory, start.time, scale), start), start)
        return scale, scaled, motion, self._too_fast(motion)

    def _ease_grippers(self, trajectory: JointTrajectory, start: JointState) -> tuple[JointTrajectory, Motion]:
        """Stop grippers that would overshoot their end stops, by more knots that leave the other curves as they are.

        Grippers live at the ends of their range, and a trajectory that is slowed leaves them more time than their speed
        at the start needs: without the knots one of them would take the whole trajectory with it.
        """
        motion = Motion(trajectory, start)
        grippers = [joint for joint in self.spec.grippers if self._overshoots(joint, motion)]
        if not grippers:
            return trajectory, motion
        own_limits = EASING * self.max_acceleration[grippers], EASING * self.max_jerk[grippers]
        own = (value[grippers] for value in (start.positions, start.velocities, start.accelerations))
        stop = brake(JointState(start.time, *own), *own_limits, trajectory.stamp)
        before = stop.times < trajectory.times[0] - MIN_FIRST_SEGMENT / 2
        at_rest = (stop.velocities == 0.0).all(axis=1)
        if not (before & at_rest).any():
            return trajectory, motion
        stop = stop.select(np.arange(int(np.argmax(at_rest)) + 1))
        added = [motion.at(trajectory.stamp + time) for time in stop.times]
        inserted = JointTrajectory(
            trajectory.stamp,
            stop.times,
            np.array([state.positions for state in added]),
            np.array([state.velocities for state in added]),
            np.array([state.accelerations for state in added]),
        )
        for place, joint in enumerate(grippers):
            inserted.positions[:, joint] = stop.positions[:, place]
            inserted.velocities[:, joint] = stop.velocities[:, place]
            inserted.knot_accelerations[:, joint] = stop.knot_accelerations[:, place]
        following = replace(
            trajectory, velocities=trajectory.velocities.copy(), accelerations=trajectory.knot_accelerations.copy()
        )
        way = (trajectory.positions[0] - inserted.positions[-1]) / (trajectory.times[0] - stop.times[-1])
        speed = trajectory.velocities[0]
        eased = np.where(speed * way > 0, np.sign(way) * np.minimum(abs(speed), abs(way)), 0.0)
        following.velocities[0, grippers], following.knot_accelerations[0, grippers] = eased[grippers], 0.0
        longer = inserted.then(following)
        return longer, Motion(longer, start)

    def _overshoots(self, joint: int, motion: Motion) -> bool:
        """Whether a gripper that is within its range leaves it on the way to the first knot."""
        low, high = self.spec.lower[joint] - POSITION_TOLERANCE, self.spec.upper[joint] + POSITION_TOLERANCE
        bounds = curve_bounds(motion.coefficients, motion.durations, 0)[:, 0, joint]
        return bool(low <= motion.start.positions[joint] <= high and not (low <= bounds.min() and bounds.max() <= high))

    def brake(self, state: JointState, stamp: float) -> JointTrajectory:
        """Return the stop from a state, stamped `stamp` (not after it), within the limits of acceleration and jerk."""
        return brake(state, self.max_acceleration, self.max_jerk, stamp)

    def come_to_rest(self, state: JointState, stamp: float) -> JointTrajectory:
        """Return the stop for a controller that may follow something else than `state`, stamped `stamp` (not after it).

        Its only knot is at least `MEETING_S` away, and the controller leads there from wherever it is: knots at once
        would fling an arm that is elsewhere. The way from `state` itself takes as long as the limits of acceleration
        and jerk ask, and `LONGEST_MEETING_S` at most.
        """
        duration = MEETING_S
        while True:
            positions = np.clip(state.positions + state.velocities * duration / 2, *self._range(state))[None]
            still = np.zeros_like(positions)
            stop = JointTrajectory(stamp, np.array([state.time + duration - stamp]), positions, still, still.copy())
            motion = Motion(stop, state)
            needs = [
                (np.abs(curve_bounds(motion.coefficients, motion.durations, order)) / limit).max() ** (1 / (order - 1))
                for order, limit in ((2, self.max_acceleration), (3, self.max_jerk))
            ]
            if duration >= LONGEST_MEETING_S or max(needs) <= 1:
                return stop
            duration = min(LONGEST_MEETING_S, 1.01 * duration * max(needs))

    def _too_fast(self, motion: Motion) -> _Excess | None:
        """What exceeds its limit first in the order position, velocity, acceleration, jerk; None if nothing does."""
        place, *rates = (curve_bounds(motion.coefficients, motion.durations, order) for order in range(4))
        speed, acceleration, jerk = map(np.abs, rates)
        low, high = self._range(motion.start)
        found: tuple[tuple[Limit, NDArray, NDArray, NDArray | None], ...] = (
            ("position", np.maximum(low - place, place - high) - POSITION_TOLERANCE, place, None),
            ("velocity", speed - self.max_velocity * (1 + ROUNDING), speed, self.max_velocity),
            (
                "acceleration",
                acceleration - self.max_acceleration * (1 + ROUNDING),
                acceleration,
                self.max_acceleration,
            ),
            ("jerk", jerk - self.max_jerk * (1 + ROUNDING), jerk, self.max_jerk),
        )
        for name, excess, values, limit in found:
            if (excess > 0).any():
                return _Excess(name, self._describe(name, excess, values, limit, motion))
        return None

    def _range(self, start: JointState) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Least and greatest positions (n,): one that is outside of its range already may only come back."""
        return np.minimum(self.spec.lower, start.positions), np.maximum(self.spec.upper, start.positions)

    def _describe(self, name: str, excess: NDArray, values: NDArray, limit: NDArray | None, motion: Motion) -> str:
        relative = excess if limit is None else excess / limit
        which, segment, joint = np.unravel_index(int(np.argmax(relative)), excess.shape)
        expected = (
            f"within [{self.spec.lower[joint]:.4f}, {self.spec.upper[joint]:.4f}]"
            if limit is None
            else f"at most {limit[joint]:.4g}"
        )
        when = motion.knots[segment] - motion.knots[0]
        return (
            f"{name} of {self.spec.joint_names[joint]}: expected {expected}, "
            f"found {values[which, segment, joint]:.4g} in the segment from {when:.3f} s"
        )

    def _shortened(self, trajectory: JointTrajectory, start: JointState, exit_time: float) -> JointTrajectory | None:
        """End in a stop after the last knot from which the tool stays in the workspace; None if there is no such."""
        before = np.flatnonzero(trajectory.stamp + trajectory.times[:-1] < exit_time)
        for k in before[::-1]:
            due = trajectory.stamp + trajectory.times[k]
            state = JointState(due, trajectory.positions[k], trajectory.velocities[k], trajectory.knot_accelerations[k])
            ended = trajectory.select(slice(k + 1)).then(self.brake(state, trajectory.stamp))
            if not self._workspace.exit(Motion(ended, start), due)[1]:
                return ended
        return None


def _remaining(trajectory: JointTrajectory, now: float) -> JointTrajectory | None:
    """The knots still to come, or None; knots that are past would make the controller jump."""
    keep = trajectory.stamp + trajectory.times > now + MIN_FIRST_SEGMENT
    if keep.all():
        return trajectory
    if not keep.any():
        return None
    return trajectory.select(keep)


def _slowed(trajectory: JointTrajectory, now: float, scale: float) -> JointTrajectory:
    if scale == 1.0:
        return trajectory
    elapsed = now - trajectory.stamp
    times = elapsed + scale * (trajectory.times - elapsed)
    accelerations = None if trajectory.accelerations is None else trajectory.accelerations / scale**2
    return JointTrajectory(trajectory.stamp, times, trajectory.positions, trajectory.velocities / scale, accelerations)
