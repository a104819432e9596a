"""The last judge of a trajectory: pass it, slow it down as a whole, end it earlier, or reject it with a reason.

What is bounded is the curve that the controller will follow (`trajectory.Motion`), from its present desired state
through all knots. Extremes of positions, velocities and accelerations are exact, not sampled. Jerk is the third
derivative of each cubic, which is constant within a segment; the step of the acceleration at a knot, at most twice the
acceleration limit, is not counted as jerk. Where a curve within these limits ends at rest, it can also be left at any
time by a brake at the acceleration limit: no joint then goes further than on the curve itself.

A trajectory that is too fast is slowed as a whole, which keeps its path; clipping single joints would bend it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policies.execution.kinematics import Kinematics
from policies.execution.trajectory import JointState, JointTrajectory, Motion, brake
from policies.robots.spec import RobotSpec

POSITION_TOLERANCE = 1e-6  # rad (m), for rounding
WORKSPACE_TOLERANCE = 1e-3  # m
MIN_FIRST_SEGMENT = 0.02  # s; a knot nearer than this is as good as past
SCALE_RATIO = 1.07  # ratio of the time scales that are tried
PATH_SAMPLES = 4  # of a segment, for the tool's path, whose extremes have no closed form
GRIPPER_SAMPLES = 10  # of the first segment


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
        trajectory: the trajectory, as it came or slowed or shortened; None when it is rejected.
        reason: why it was changed or rejected; empty when it passed as it came.
        time_scale: how many times slower it became; 1 when it was not slowed.
    """

    trajectory: JointTrajectory | None
    reason: str = ""
    time_scale: float = 1.0


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
        self._kinematics = Kinematics(spec)
        count = int(np.log(self.limits.max_time_scale) / np.log(SCALE_RATIO))
        self._scales = np.unique(np.append(SCALE_RATIO ** np.arange(count + 1), self.limits.max_time_scale))

    def apply(
        self,
        trajectory: JointTrajectory,
        positions: ArrayLike,
        velocities: ArrayLike,
        now: float | None = None,
        start: JointState | None = None,
    ) -> SafetyVerdict:
        """Judge a trajectory that would replace the running one.

        Args:
            trajectory: what is asked for.
            positions: (n,) measured joint positions, rad (m).
            velocities: (n,) measured joint velocities, rad/s (m/s).
            now: time of the replacement in seconds; the trajectory's stamp if None.
            start: desired state of the controller at `now`; the measured state if None.
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
        reason = self._misplaced(remaining, measured)
        if reason:
            return SafetyVerdict(None, reason)
        return self._fit(remaining, start)

    def _malformed(self, trajectory: JointTrajectory, measured: JointState) -> str:
        count = len(self.spec.joint_names)
        if trajectory.positions.shape[1] != count:
            return f"trajectory: expected {count} joints, found {trajectory.positions.shape[1]}"
        for name, values in (("position", trajectory.positions), ("velocity", trajectory.velocities)):
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

    def _misplaced(self, trajectory: JointTrajectory, measured: JointState) -> str:
        low, high = self.spec.lower - POSITION_TOLERANCE, self.spec.upper + POSITION_TOLERANCE
        outside = (trajectory.positions < low) | (trajectory.positions > high)
        if outside.any():
            knot, joint = np.argwhere(outside)[0]
            return (
                f"position of {self.spec.joint_names[joint]}: expected within [{self.spec.lower[joint]:.4f}, "
                f"{self.spec.upper[joint]:.4f}], found {trajectory.positions[knot, joint]:.4f} at knot {knot}"
            )
        # The gripper may be kept from its command by what it holds.
        jump = np.abs(trajectory.positions[0] - measured.positions)
        jump[self.spec.grippers] = 0.0
        joint = int(np.argmax(jump))
        if jump[joint] > self.limits.max_jump:
            return (
                f"jump of {self.spec.joint_names[joint]}: expected at most {self.limits.max_jump:.3f} rad from the "
                f"measured position, found {jump[joint]:.3f} rad"
            )
        return ""

    def _fit(self, trajectory: JointTrajectory, start: JointState) -> SafetyVerdict:
        scale, scaled, motion, too_fast = self._at_scale(trajectory, start, 1.0)
        reason = ""
        if too_fast:
            for candidate in self._promising_scales(trajectory, start):
                scale, scaled, motion, still = self._at_scale(trajectory, start, candidate)
                if not still:
                    break
            else:
                return SafetyVerdict(
                    None, f"{too_fast}; slowing it up to {self.limits.max_time_scale:g} times does not help"
                )
            reason = f"slowed {scale:.2f} times: {too_fast}"
        exit_time, exits = self._exit(motion, motion.knots[0])
        if not exits:
            return SafetyVerdict(scaled, reason, float(scale))
        shortened = self._shortened(scaled, start, exit_time)
        if shortened is None:
            return SafetyVerdict(None, exits)
        return SafetyVerdict(shortened, f"stopped early: {exits}", float(scale))

    def _at_scale(
        self, trajectory: JointTrajectory, start: JointState, scale: float
    ) -> tuple[float, JointTrajectory, Motion, str]:
        scaled, motion = self._ease_grippers(_slowed(trajectory, start.time, scale), start)
        return scale, scaled, motion, self._too_fast(motion)

    def _promising_scales(self, trajectory: JointTrajectory, start: JointState) -> NDArray[np.float64]:
        """Time scales at which the arms' accelerations at the knots are within the limits: all at once, so quickly."""
        arm = self.spec.arm_joints
        scales = self._scales[1:, None, None]
        knots = np.append(start.time, trajectory.stamp + trajectory.times)
        h = np.diff(knots)[:, None] * scales  # (S, T, 1)
        slope = np.diff(np.vstack([start.positions, trajectory.positions]), axis=0)[:, arm] / h
        v1 = trajectory.velocities[:, arm] / scales
        v0 = np.concatenate([np.broadcast_to(start.velocities[arm], v1[:, :1].shape), v1[:, :-1]], axis=1)
        at_begin, at_end = (6 * slope - 4 * v0 - 2 * v1) / h, (2 * v0 + 4 * v1 - 6 * slope) / h
        worst = np.maximum(np.abs(at_begin), np.abs(at_end)).max(axis=1)  # (S, arm joints)
        return self._scales[1:][(worst <= self.max_acceleration[arm] * (1 + 1e-9)).all(axis=1)]

    def _ease_grippers(self, trajectory: JointTrajectory, start: JointState) -> tuple[JointTrajectory, Motion]:
        """Stop grippers that would overshoot their end stops, by more knots that leave the other curves as they are.

        Grippers live at the ends of their range, and a trajectory that is slowed leaves them more time than their speed
        at the start needs: without the knots one of them would take the whole trajectory with it.
        """
        motion = Motion(trajectory, start)
        following = trajectory.velocities.copy()
        eased: dict[int, Motion] = {}  # by gripper joint, its own curve to the first knot
        for joint in self.spec.grippers:
            stopped = self._stopped_gripper(joint, trajectory, motion, start)
            if stopped is not None:
                eased[joint] = Motion(stopped, JointState(start.time, *_one(joint, start.positions, start.velocities)))
                following[0, joint] = stopped.velocities[-1, 0]
        if not eased:
            return trajectory, motion
        times = np.unique([own.knots[1] for own in eased.values()]) - trajectory.stamp
        added = [motion.sample(trajectory.stamp + time) for time in times]
        for joint, own in eased.items():
            for time, (positions, velocities) in zip(times, added, strict=True):
                (positions[joint],), (velocities[joint],) = own.sample(trajectory.stamp + time)
        longer = JointTrajectory(
            trajectory.stamp,
            np.append(times, trajectory.times),
            np.vstack([*(positions for positions, _ in added), trajectory.positions]),
            np.vstack([*(velocities for _, velocities in added), following]),
        )
        return longer, Motion(longer, start)

    def _stopped_gripper(
        self, joint: int, trajectory: JointTrajectory, motion: Motion, start: JointState
    ) -> JointTrajectory | None:
        """A gripper's own way to the first knot by a stop, if it would leave its range without and the stop helps."""
        elapsed = motion.durations[0] * np.linspace(0.0, 1.0, GRIPPER_SAMPLES + 1)
        curve = np.polynomial.polynomial.polyval(elapsed, motion.coefficients[0, :, joint])
        low, high = self.spec.lower[joint] - POSITION_TOLERANCE, self.spec.upper[joint] + POSITION_TOLERANCE
        inside = low <= start.positions[joint] <= high
        if not inside or (low <= curve.min() and curve.max() <= high):
            return None
        stop = brake(start, self.max_acceleration, trajectory.stamp)
        at = int(np.argmax(stop.velocities[:, joint] == 0.0))
        if stop.times[at] >= trajectory.times[0]:
            return None
        target, speed = trajectory.positions[0, joint], trajectory.velocities[0, joint]
        way = (target - stop.positions[at, joint]) / (trajectory.times[0] - stop.times[at])
        speed = np.sign(way) * min(abs(speed), abs(way)) if speed * way > 0 else 0.0
        return JointTrajectory(
            trajectory.stamp,
            np.array([stop.times[at], trajectory.times[0]]),
            np.array([[stop.positions[at, joint]], [target]]),
            np.array([[0.0], [speed]]),
        )

    def _too_fast(self, motion: Motion) -> str:
        """Name what exceeds its limit first in the order position, velocity, acceleration, jerk; '' if nothing."""
        _, b, c, d = np.moveaxis(motion.coefficients, 1, 0)  # (T, n) each
        h = motion.durations[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            turn = np.clip(np.nan_to_num(-c / (3 * d)), 0, h)  # where the acceleration is zero
            root = np.sqrt(np.maximum(c * c - 3 * b * d, 0))
            # Where the velocity is zero; the second form of the quadratic formula serves d = 0.
            stands = [np.clip(np.nan_to_num(s), 0, h) for s in (-b / (c + root), -b / (c - root))]
        zero = np.zeros_like(b)
        place = np.stack([_polynomial(motion.coefficients, s) for s in (zero, h + zero, *stands)])
        speed = np.abs(np.stack([b + s * (2 * c + s * 3 * d) for s in (zero, h, turn)]))
        acceleration = np.abs(np.stack([2 * c, 2 * c + 6 * d * h]))
        low, high = (
            np.minimum(self.spec.lower, motion.start.positions),
            np.maximum(self.spec.upper, motion.start.positions),
        )
        for name, excess, values, limit in (
            ("position", np.maximum(low - place, place - high) - POSITION_TOLERANCE, place, None),
            ("velocity", speed - self.max_velocity * (1 + 1e-9), speed, self.max_velocity),
            ("acceleration", acceleration - self.max_acceleration * (1 + 1e-9), acceleration, self.max_acceleration),
            ("jerk", 6 * np.abs(d)[None] - self.max_jerk * (1 + 1e-9), 6 * np.abs(d)[None], self.max_jerk),
        ):
            if (excess > 0).any():
                return self._describe(name, excess, values, limit, motion)
        return ""

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

    def _exit(self, motion: Motion, begin: float) -> tuple[float, str]:
        """When and where a tool leaves its workspace from `begin` on; one that starts outside may only come back."""
        times = _spread(motion.knots[motion.knots >= begin], PATH_SAMPLES)
        path = motion.sample_many(times)[0]
        exits = [self._exit_of(arm, times, path, motion) for arm in range(len(self.spec.arms))]
        return min(exits, key=lambda found: found[0])

    def _exit_of(self, arm: int, times: NDArray, path: NDArray, motion: Motion) -> tuple[float, str]:
        tools = np.array([self._kinematics.forward(q, arm)[:3, 3] for q in path])  # (K, 3)
        low, high = self.spec.arms[arm].workspace_low, self.spec.arms[arm].workspace_high
        start = self._kinematics.forward(motion.start.positions, arm)[:3, 3]
        already = np.maximum(low - start, start - high).clip(min=0)
        outside = np.maximum(low - tools, tools - high) > already + WORKSPACE_TOLERANCE
        if not outside.any():
            return np.inf, ""
        k, axis = np.argwhere(outside)[0]
        return float(times[k]), (
            f"workspace: expected tool {'xyz'[axis]} within [{low[axis]:.3f}, {high[axis]:.3f}] m, "
            f"found {tools[k, axis]:.3f} m after {times[k] - motion.knots[0]:.3f} s ({self.spec.arms[arm].name})"
        )

    def _shortened(self, trajectory: JointTrajectory, start: JointState, exit_time: float) -> JointTrajectory | None:
        """End in a stop after the last knot from which the tool stays in the workspace; None if there is no such."""
        before = np.flatnonzero(trajectory.stamp + trajectory.times[:-1] < exit_time)
        for k in before[::-1]:
            due = trajectory.stamp + trajectory.times[k]
            stop = brake(
                JointState(due, trajectory.positions[k], trajectory.velocities[k]),
                self.max_acceleration,
                trajectory.stamp,
            )
            ended = JointTrajectory(
                trajectory.stamp,
                np.append(trajectory.times[: k + 1], stop.times),
                np.vstack([trajectory.positions[: k + 1], stop.positions]),
                np.vstack([trajectory.velocities[: k + 1], stop.velocities]),
            )
            if not self._exit(Motion(ended, start), due)[1]:
                return ended
        return None


def _one(joint: int, *values: NDArray) -> Iterator[NDArray[np.float64]]:
    """The (1,) arrays of one joint."""
    return (value[[joint]] for value in values)


def _remaining(trajectory: JointTrajectory, now: float) -> JointTrajectory | None:
    """The knots still to come, or None; knots that are past would make the controller jump."""
    keep = trajectory.stamp + trajectory.times > now + MIN_FIRST_SEGMENT
    if keep.all():
        return trajectory
    if not keep.any():
        return None
    return JointTrajectory(
        trajectory.stamp, trajectory.times[keep], trajectory.positions[keep], trajectory.velocities[keep]
    )


def _slowed(trajectory: JointTrajectory, now: float, scale: float) -> JointTrajectory:
    if scale == 1.0:
        return trajectory
    elapsed = now - trajectory.stamp
    times = elapsed + scale * (trajectory.times - elapsed)
    return JointTrajectory(trajectory.stamp, times, trajectory.positions, trajectory.velocities / scale)


def _polynomial(coefficients: NDArray, s: NDArray) -> NDArray[np.float64]:
    a, b, c, d = np.moveaxis(coefficients, 1, 0)
    return a + s * (b + s * (c + s * d))


def _spread(knots: NDArray, count: int) -> NDArray[np.float64]:
    """Times at the knots and, `count` to a segment, between them."""
    fractions = np.arange(count) / count
    return np.append((knots[:-1, None] + fractions * np.diff(knots)[:, None]).ravel(), knots[-1])
