from __future__ import annotations

import re

import numpy as np
import pytest

from policies.execution.chunk_scheduler import ChunkScheduler
from policies.execution.kinematics import Kinematics
from policies.execution.safety_filter import SafetyFilter, SafetyLimits
from policies.execution.trajectory import JointState, JointTrajectory, Motion, smooth
from policies.interface import ActionChunk
from policies.robots import get_robot

SPEC = get_robot("panda")
HOME = SPEC.home
STILL = np.zeros(8)


@pytest.fixture(scope="module")
def safety():
    return SafetyFilter(SPEC)


@pytest.fixture(scope="module")
def kinematics():
    return Kinematics(SPEC)


def one_joint(joint, targets, velocities=None, dt=0.1, stamp=0.0):
    """A trajectory in which one joint moves, by offsets from home."""
    positions = np.tile(HOME, (len(targets), 1))
    positions[:, joint] += targets
    speeds = np.zeros_like(positions)
    if velocities is not None:
        speeds[:, joint] = velocities
    return JointTrajectory(stamp, dt * np.arange(1, len(targets) + 1), positions, speeds)


def judge(safety, trajectory, **kwargs):
    return safety.apply(trajectory, HOME, STILL, **kwargs)


def assert_within_limits(motion, begin, end, start):
    """Check the curve at 1 kHz against the robot's limits; accelerations are differences of velocities."""
    times = np.arange(begin, end, 1e-3)
    positions, velocities = motion.sample_many(times)
    assert (positions >= np.minimum(SPEC.lower, start.positions) - 2e-5).all()
    assert (positions <= np.maximum(SPEC.upper, start.positions) + 2e-5).all()
    assert (np.abs(velocities) <= SPEC.max_velocity + 1e-9).all()
    accelerations = np.diff(velocities, axis=0) / 1e-3
    assert (np.abs(accelerations) <= SPEC.max_acceleration * (1 + 1e-6)).all()
    assert (largest_jerk(motion) <= SPEC.max_jerk).all()


def largest_jerk(motion):
    """Of each joint; the third derivative of a quintic segment is a parabola, sampled here."""
    c = motion.coefficients
    s = motion.durations[:, None, None] * np.linspace(0, 1, 41)[:, None]  # (T, 41, 1)
    jerks = 6 * c[:, None, 3] + s * (24 * c[:, None, 4] + s * 60 * c[:, None, 5])
    return np.abs(jerks).max(axis=(0, 1))


def assert_same_knots(one, other):
    for name in ("stamp", "times", "positions", "velocities"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_gentle_trajectory_passes_as_it_came(safety):
    trajectory = one_joint(0, [0.01, 0.03, 0.04], [0.15, 0.15, 0.0])
    verdict = judge(safety, trajectory)
    assert_same_knots(verdict.trajectory, trajectory)
    assert (verdict.reason, verdict.time_scale) == ("", 1.0)


@pytest.mark.parametrize(
    ("direction", "origin"), [((0, 1, 0), (0.45, -0.3, 0.2)), ((0.6, 0.6, -0.3), (0.3, -0.25, 0.3))]
)
def test_smooth_motion_of_3_cm_steps_at_10_hz_passes_unchanged(safety, kinematics, direction, origin):
    steps = 0.03 * np.array([1 / 3, 2 / 3, *([1.0] * 12), 2 / 3, 1 / 3, 0, 0, 0, 0])
    pose = kinematics.forward(HOME)
    pose[:3, 3] = origin
    state = JointState(0.0, kinematics.inverse(pose, HOME), STILL)
    scheduler = ChunkScheduler(SPEC)
    for i in range(len(steps) - 4):
        rows = np.zeros((4, 7))
        rows[:, :3] = np.outer(steps[i : i + 4], direction)
        rows[:, 6] = float(i < 8)
        chunk = kinematics.to_joint_chunk(ActionChunk(state.time, 0.1, "cartesian_delta", rows), state.positions)
        trajectory = scheduler.plan(chunk, state.positions, state.time)
        verdict = safety.apply(trajectory, state.positions, state.velocities, state.time, state)
        assert not verdict.reason, i
        assert_same_knots(verdict.trajectory, trajectory)
        state = Motion(verdict.trajectory, state).at(round(0.1 * (i + 1), 9))


def test_too_fast_a_trajectory_is_slowed_as_a_whole(safety):
    trajectory = one_joint(0, [0.3, 0.6, 0.9, 0.9], [3.0, 3.0, 1.0, 0.0])
    verdict = judge(safety, trajectory)
    assert verdict.time_scale > 1.4
    assert verdict.reason.startswith(
        f"slowed {verdict.time_scale:.2f} times: velocity of joint1: expected at most 1.957"
    )
    np.testing.assert_allclose(verdict.trajectory.times, trajectory.times * verdict.time_scale)
    np.testing.assert_array_equal(verdict.trajectory.positions, trajectory.positions)
    np.testing.assert_allclose(verdict.trajectory.velocities, trajectory.velocities / verdict.time_scale)


def test_acceleration_and_jerk_slow_a_trajectory_too():
    loose = SafetyFilter(SPEC, SafetyLimits(jerk_fraction=1e-2))
    assert "acceleration of joint2" in judge(SafetyFilter(SPEC), one_joint(1, [0.03])).reason
    # 0.01 rad in 0.1 s from rest to rest: 60 * 0.01 / 0.1^3 = 600 rad/s^3 against 37.5.
    assert "jerk of joint2: expected at most 37.5, found 600" in judge(loose, one_joint(1, [0.01])).reason


REJECTED = [
    (one_joint(3, [0.01, np.nan]), "position of joint4: expected a finite value, found nan at knot 1"),
    (one_joint(3, [0.01, 0.02], [np.inf, 0.0]), "velocity of joint4: expected a finite value, found inf at knot 0"),
    (one_joint(3, [0.01], [0.2]), "velocity of joint4: expected 0 at the last knot, found 0.2"),
    (one_joint(3, [0.01, 2.5]), r"position of joint4: expected within \[-3.0718, -0.0698\], found 0.1526 at knot 1"),
    (one_joint(7, [0.01]), r"position of finger_joint1: expected within \[0.0000, 0.0400\], found 0.0500"),
    (
        one_joint(5, [0.4, 0.4]),
        "jump of joint6: expected at most 0.350 rad from the measured position, found 0.400 rad",
    ),
    (
        one_joint(0, [0.2, -2.5]),
        "velocity of joint1: expected at most 1.957, found .* slowing it up to 5 times does not help",
    ),
    (JointTrajectory(0.0, [0.1], np.zeros((1, 7)), np.zeros((1, 7))), "trajectory: expected 8 joints, found 7"),
]


@pytest.mark.parametrize(("trajectory", "reason"), REJECTED)
def test_rejection_names_joint_expected_and_found(safety, trajectory, reason):
    verdict = judge(safety, trajectory)
    assert verdict.trajectory is None
    assert re.search(reason, verdict.reason), verdict.reason


def test_joint_state_that_is_not_finite_rejects(safety):
    verdict = safety.apply(one_joint(0, [0.01]), np.full(8, np.nan), STILL)
    assert verdict.trajectory is None
    assert verdict.reason == "joint state: expected finite values, found some that are not"


def test_past_knots_are_dropped_and_a_past_trajectory_is_rejected(safety):
    trajectory = one_joint(0, [0.001, 0.002, 0.002], stamp=4.0)
    verdict = judge(safety, trajectory, now=4.15)
    np.testing.assert_array_equal(verdict.trajectory.times, trajectory.times[1:])
    assert verdict.trajectory.stamp == 4.0
    assert "expected knots after 9.000 s" in judge(safety, trajectory, now=9.0).reason


def test_gripper_held_by_an_object_is_no_jump(safety):
    measured = HOME.copy()
    measured[7] = 0.0
    assert safety.apply(one_joint(0, [0.001]), measured, STILL, start=JointState(0.0, HOME, STILL)).trajectory


@pytest.mark.parametrize(("limit", "side"), [(SPEC.upper, 1), (SPEC.lower, -1)])
def test_overshoot_between_knots_is_a_position_out_of_limits(safety, limit, side):
    start = HOME.copy()
    start[3] = limit[3] - side * 0.03
    positions = np.tile(start, (2, 1))
    positions[:, 3] = limit[3] - side * 0.002
    velocities = np.zeros((2, 8))
    velocities[0, 3] = side * 0.5
    trajectory = JointTrajectory(0.0, [0.1, 0.2], positions, velocities)
    verdict = safety.apply(trajectory, start, STILL)
    assert verdict.trajectory is None
    found = re.search(
        r"position of joint4: expected within \[-3.0718, -0.0698\], found (\S+) in the segment", verdict.reason
    )
    state = JointState(0.0, start, STILL)
    path = Motion(smooth(trajectory, state), state).sample_many(np.linspace(0.1, 0.2, 1000))[0][:, 3]
    peak = (side * path).max()
    assert peak - 1e-4 <= side * float(found[1]) <= peak + 5e-4


def test_gripper_that_just_stops_at_its_end_passes_and_can_be_stopped(safety):
    start = JointState(0.0, np.append(HOME[:7], 0.0163), STILL)
    positions = np.tile(HOME, (2, 1))
    positions[:, 7] = [0.0013, 0.0]
    velocities = np.zeros((2, 8))
    velocities[0, 7] = -0.1
    trajectory = JointTrajectory(0.0, [0.2, 0.2 + 2 * 0.0013 / 0.1], positions, velocities)
    verdict = safety.apply(trajectory, start.positions, STILL)
    assert_same_knots(verdict.trajectory, trajectory)
    motion = Motion(verdict.trajectory, start)
    for time in np.arange(0.0, motion.end, 1e-3):
        state = motion.at(time)
        assert safety.brake(state, state.time).positions[-1, 7] > -1e-5


def descent(kinematics, low):
    """Straight down from 0.08 m, 1 cm in 0.1 s, through the heights that follow."""
    pose = kinematics.forward(HOME)
    heights = np.arange(0.07, low - 1e-9, -0.01)
    q = HOME
    rows = []
    for z in (0.08, *heights):
        pose[2, 3] = z
        q = kinematics.inverse(pose, q)
        rows.append(q)
    rows = np.array(rows)
    trajectory = ChunkScheduler(SPEC).plan(ActionChunk(0.0, 0.1, "joint", rows[1:]), rows[0], 0.0)
    slope = (rows[1] - rows[0]) / 0.1
    return trajectory, JointState(0.0, rows[0], slope)


def test_trajectory_that_leaves_the_workspace_ends_before_it(safety, kinematics):
    trajectory, start = descent(kinematics, -0.02)
    verdict = safety.apply(trajectory, start.positions, start.velocities, 0.0, start)
    assert verdict.reason.startswith("stopped early: workspace: expected tool z within [0.005, 0.900] m")
    motion = Motion(verdict.trajectory, start)
    heights = [kinematics.forward(motion.sample(t)[0])[2, 3] for t in np.arange(0, motion.end, 1e-2)]
    assert 0.003 < min(heights) < 0.03
    np.testing.assert_array_equal(verdict.trajectory.positions[0], trajectory.positions[0])


def test_trajectory_that_leaves_the_workspace_at_once_is_rejected(safety, kinematics):
    pose = kinematics.forward(HOME)
    pose[2, 3] = 0.01
    start = kinematics.inverse(pose, HOME)
    pose[2, 3] = -0.01
    target = kinematics.inverse(pose, start)
    verdict = safety.apply(JointTrajectory(0.0, [0.5], target[None], np.zeros((1, 8))), start, STILL)
    assert verdict.trajectory is None
    assert verdict.reason.startswith("workspace: expected tool z within [0.005, 0.900] m, found ")


def test_tool_outside_the_workspace_may_come_back_but_not_go_on(safety, kinematics):
    pose = kinematics.forward(HOME)
    pose[2, 3] = -0.01
    start = kinematics.inverse(pose, HOME)
    for height, allowed in ((0.0, True), (-0.02, False)):
        pose[2, 3] = height
        target = kinematics.inverse(pose, start)
        verdict = safety.apply(JointTrajectory(0.0, [0.5], target[None], np.zeros((1, 8))), start, STILL)
        assert (verdict.trajectory is not None) == allowed


def test_gripper_does_not_overshoot_its_stop_when_the_arm_is_slowed(safety):
    start = JointState(0.0, np.append(HOME[:7], 0.005), np.append(np.zeros(7), -0.1))
    positions = np.tile(np.append(HOME[:7], 0.0), (2, 1))
    positions[:, 0] += [0.3, 0.6]
    trajectory = JointTrajectory(0.0, [0.1, 0.2], positions, np.zeros((2, 8)))
    verdict = safety.apply(trajectory, start.positions, start.velocities, 0.0, start)
    assert verdict.time_scale > 2
    motion = Motion(verdict.trajectory, start)
    assert_within_limits(motion, 0.0, motion.end, start)
    asked = JointTrajectory(0.0, trajectory.times * verdict.time_scale, positions, np.zeros((2, 8)))
    eased = Motion(smooth(asked, start), start)
    times = np.linspace(0, motion.end, 100)
    np.testing.assert_allclose(motion.sample_many(times)[0][:, :7], eased.sample_many(times)[0][:, :7], atol=1e-9)


def random_trajectory(rng, state, stamp):
    """Anything from a gentle motion to nonsense, near the present state or far from it."""
    knots = rng.integers(1, 7)
    size = 10.0 ** rng.uniform(-3, 0.5)
    times = np.cumsum(rng.uniform(0.005, 0.4, knots))
    walk = np.cumsum(rng.normal(size=(knots, 8)) * size * rng.uniform(0, 1, 8), axis=0)
    walk[:, 7] *= 0.02
    positions = state.positions + walk
    if rng.random() < 0.8:
        positions = np.clip(positions, SPEC.lower, SPEC.upper)
    velocities = rng.normal(size=(knots, 8)) * size * rng.choice([0.0, 1.0, 5.0])
    velocities[-1] = 0.0
    if rng.random() < 0.05:
        positions[rng.integers(knots), rng.integers(8)] = rng.choice([np.nan, np.inf, 1e9])
    return JointTrajectory(stamp, times, positions, velocities)


def test_whatever_comes_out_stays_within_the_limits_and_can_always_be_stopped(safety):
    rng = np.random.default_rng(0)
    passed = slowed = 0
    for _ in range(25):
        low, high = np.append(SPEC.lower[:7] + 0.1, 0.0), np.append(SPEC.upper[:7] - 0.1, 0.04)
        state = JointState(0.0, rng.uniform(low, high), STILL)
        for _ in range(10):
            trajectory = random_trajectory(rng, state, state.time - rng.choice([0.0, 0.03, 0.2]))
            verdict = safety.apply(trajectory, state.positions, state.velocities, state.time, state)
            if verdict.trajectory is None:
                motion = Motion(safety.brake(state, state.time), state)
            else:
                motion = Motion(verdict.trajectory, state)
                passed += 1
                slowed += verdict.time_scale > 1
            assert_within_limits(motion, state.time, motion.end + 0.01, state)
            state = motion.at(state.time + rng.uniform(0.01, 0.3))
    assert passed > 50
    assert slowed > 20


@pytest.mark.parametrize(
    ("trajectory", "limits"),
    [
        (one_joint(0, [0.02]), ()),
        (one_joint(0, [0.3, 0.3]), ("velocity",)),
        (one_joint(0, [0.09, 0.09], dt=0.2), ("acceleration",)),
        (one_joint(0, [4.0]), ("position",)),
        (one_joint(0, [0.36], dt=5.0), ("jump",)),
        (one_joint(1, [0.1, 0.3, 0.6, 0.9, 1.2], dt=1.0), ("workspace",)),
    ],
)
def test_a_verdict_names_the_limits_that_a_trajectory_ran_into(safety, trajectory, limits):
    assert judge(safety, trajectory).limits == limits


def test_a_verdict_names_the_limit_of_jerk():
    assert judge(SafetyFilter(SPEC, SafetyLimits(jerk_fraction=0.1)), one_joint(0, [0.02])).limits == ("jerk",)


def test_a_stop_some_time_ahead_keeps_the_limits_from_where_it_was_meant_for_and_within_the_range(safety):
    rng, arm = np.random.default_rng(0), np.arange(8) < 7
    for _ in range(200):
        share = rng.uniform(-1, 1, (3, 8)) * arm
        velocities, accelerations = 0.9 * share[1] * SPEC.max_velocity, 0.2 * share[2] * SPEC.max_acceleration
        state = JointState(5.0, HOME + 0.1 * share[0], velocities, accelerations)
        stop = safety.come_to_rest(state, 4.9)
        assert len(stop.times) == 1
        assert 5.2 - 1e-9 <= stop.end < 6.0
        assert not stop.velocities.any()
        assert_within_limits(Motion(stop, state), 5.0, stop.end, state)


def test_a_stop_some_time_ahead_is_within_the_range_even_close_to_its_end(safety):
    near_end, fast = HOME.copy(), STILL.copy()
    near_end[0], fast[0] = SPEC.upper[0] - 1e-3, 1.0
    assert safety.come_to_rest(JointState(5.0, near_end, fast), 5.0).positions[0, 0] <= SPEC.upper[0]
