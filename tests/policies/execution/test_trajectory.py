from __future__ import annotations

import numpy as np
import pytest

from policies.execution.trajectory import JointState, JointTrajectory, Motion, brake, hold


def rest(time, *positions):
    return JointState(time, np.array(positions, dtype=float), np.zeros(len(positions)))


def test_motion_passes_through_every_knot_with_its_velocity():
    trajectory = JointTrajectory(10.0, [0.1, 0.3, 0.4], [[0.1], [0.4], [0.45]], [[1.0], [0.5], [0.0]])
    motion = Motion(trajectory, rest(10.0, 0.0))
    for time, position, velocity in ((10.0, 0.0, 0.0), (10.1, 0.1, 1.0), (10.3, 0.4, 0.5), (10.4, 0.45, 0.0)):
        q, qd = motion.sample(time)
        np.testing.assert_allclose([q[0], qd[0]], [position, velocity], atol=1e-9)


def test_motion_reproduces_a_cubic_exactly():
    def cubic(t):
        return 1 + 2 * t - 3 * t**2 + 4 * t**3, 2 - 6 * t + 12 * t**2

    times = np.array([0.2, 0.5])
    q, qd = cubic(times)
    trajectory = JointTrajectory(0.0, times, q[:, None], qd[:, None])
    motion = Motion(trajectory, JointState(0.0, np.array([1.0]), np.array([2.0])))
    for t in np.linspace(0, 0.499, 40):
        np.testing.assert_allclose(np.concatenate(motion.sample(t)), cubic(t), atol=1e-12)


def test_motion_holds_the_last_knot():
    motion = Motion(hold([0.3, 0.4], 5.0), rest(5.0, 0.0, 0.0))
    q, qd = motion.sample(99.0)
    np.testing.assert_array_equal(q, [0.3, 0.4])
    np.testing.assert_array_equal(qd, [0.0, 0.0])


def test_first_segment_begins_at_the_replacement_not_at_the_stamp():
    trajectory = JointTrajectory(1.0, [0.4], [[1.0]], [[0.0]])
    motion = Motion(trajectory, rest(1.2, 0.5))
    np.testing.assert_allclose(motion.sample(1.2)[0], 0.5)
    np.testing.assert_allclose(motion.sample(1.3)[0], 0.75)


def test_sampling_many_times_at_once_changes_nothing():
    rng = np.random.default_rng(0)
    velocities = np.vstack([rng.normal(size=(3, 2)), np.zeros((1, 2))])
    trajectory = JointTrajectory(1.0, [0.1, 0.2, 0.5, 0.6], rng.normal(size=(4, 2)), velocities)
    for begin in (1.0, 1.25, 1.6):
        motion = Motion(trajectory, rest(begin, 0.3, 0.4))
        times = np.linspace(begin, 1.8, 40)
        positions, velocities = motion.sample_many(times)
        np.testing.assert_array_equal(positions, [motion.sample(t)[0] for t in times])
        np.testing.assert_array_equal(velocities, [motion.sample(t)[1] for t in times])


def test_late_trajectory_is_entered_in_the_segment_of_the_present():
    trajectory = JointTrajectory(1.0, [0.1, 0.3, 0.5], [[1.0], [2.0], [2.0]], [[0.0], [0.0], [0.0]])
    motion = Motion(trajectory, rest(1.2, 0.0))
    np.testing.assert_allclose(motion.sample(1.2)[0], 1.5)


def test_brake_stops_each_joint_with_the_deceleration_allowed_to_it():
    state = JointState(2.0, np.array([0.0, 1.0, 5.0]), np.array([2.0, -1.0, 0.0]))
    limit = np.array([4.0, 10.0, 1.0])
    trajectory = brake(state, limit, stamp=1.9)
    motion = Motion(trajectory, state)
    assert trajectory.stamp == 1.9
    assert motion.end == pytest.approx(2.5)
    times = np.linspace(2.0, 2.5, 501)
    velocities = np.array([motion.sample(t)[1] for t in times])
    np.testing.assert_allclose(np.diff(velocities[:, 0]) / 1e-3, -4.0, atol=1e-6)
    np.testing.assert_allclose(np.diff(velocities[:99, 1]) / 1e-3, 10.0, atol=1e-6)
    np.testing.assert_allclose(velocities[101:, 1], 0.0, atol=1e-9)
    np.testing.assert_allclose(motion.sample(3.0)[0], [0.5, 0.95, 5.0])


def test_brake_at_rest_is_a_hold():
    trajectory = brake(rest(2.0, 0.2), np.ones(1))
    np.testing.assert_array_equal(trajectory.positions, [[0.2]])
    np.testing.assert_array_equal(trajectory.times, hold([0.2], 2.0).times)


@pytest.mark.parametrize("times", [[0.0, 0.1], [0.2, 0.1], [0.1, 0.1], [0.1, np.nan], [np.nan, 0.1], [0.1, np.inf]])
def test_times_that_do_not_increase_from_above_zero_are_refused(times):
    with pytest.raises(ValueError, match="strictly increasing"):
        JointTrajectory(0.0, times, np.zeros((2, 1)), np.zeros((2, 1)))


def test_knots_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="as many knots everywhere"):
        JointTrajectory(0.0, [0.1, 0.2], np.zeros((2, 3)), np.zeros((1, 3)))
