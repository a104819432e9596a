from __future__ import annotations

import numpy as np
import pytest

from policies.execution.trajectory import JointState, JointTrajectory, Motion, approached, brake, hold, smooth


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


def jerk_at(motion, time):
    k = int(np.searchsorted(motion.knots, time, side="right")) - 1
    c, s = motion.coefficients[k], time - motion.knots[k]
    return 6 * c[3] + 24 * s * c[4] + 60 * s**2 * c[5]


def test_brake_stops_each_joint_in_its_own_time_within_its_limits():
    state = JointState(2.0, np.array([0.0, 1.0, 5.0]), np.array([2.0, -1.0, 0.0]))
    limit = np.array([4.0, 10.0, 1.0])
    jerk = np.array([400.0, 1000.0, 100.0])
    trajectory = brake(state, limit, jerk, stamp=1.9)
    motion = Motion(trajectory, state)
    assert trajectory.stamp == 1.9
    # v / A, and half of the two ramps of 0.02 s and 0.01 s.
    assert motion.end == pytest.approx(2.515)
    states = [motion.at(t) for t in np.linspace(2.0, 2.6, 601)]
    accelerations = np.array([state.accelerations for state in states])
    assert (np.abs(accelerations) <= limit * (1 + 1e-9)).all()
    np.testing.assert_allclose(accelerations[21:504, 0], -4.0, atol=1e-6)
    jerks = np.array([jerk_at(motion, t) for t in np.linspace(2.0, 2.5149, 600)])
    assert (np.abs(jerks) <= jerk * (1 + 1e-4)).all()
    np.testing.assert_allclose([state.velocities[1] for state in states[116:]], 0.0, atol=1e-9)
    np.testing.assert_allclose(motion.sample(3.0)[0][2], 5.0, atol=1e-12)


@pytest.mark.parametrize("time", [2.0, 1.7e9])
def test_brake_takes_over_position_velocity_and_acceleration(time):
    rng = np.random.default_rng(0)
    limit, jerk = np.full(6, 9.0), np.full(6, 4500.0)
    for _ in range(200):
        velocities, accelerations = rng.uniform(-2, 2, 6), rng.uniform(-9, 9, 6)
        velocities[rng.random(6) < 0.2] = 0.0
        state = JointState(time, rng.uniform(-1, 1, 6), velocities, accelerations)
        motion = Motion(brake(state, limit, jerk), state)
        start = motion.at(time)
        for name in ("positions", "velocities", "accelerations"):
            np.testing.assert_allclose(getattr(start, name), getattr(state, name), atol=1e-12)
        states = [motion.at(t) for t in np.linspace(time, motion.end, 300)]
        assert np.abs([state.accelerations for state in states]).max() <= 9.0 * (1 + 1e-6)
        jerks = np.array([jerk_at(motion, t) for t in np.linspace(time, motion.end - 1e-6, 300)])
        assert np.abs(jerks).max() <= 4500.0 * (1 + 1e-3)
        assert not motion.at(motion.end + 1e-6).velocities.any()


def random_knots(rng, stamp, count=6, joints=4):
    times = np.cumsum(rng.uniform(0.02, 0.3, count))
    velocities = rng.normal(size=(count, joints))
    velocities[-1] = 0.0
    return JointTrajectory(stamp, times, rng.normal(size=(count, joints)), velocities)


def test_splices_are_continuous_in_position_velocity_and_acceleration():
    rng = np.random.default_rng(1)
    state = rest(5.0, 0.1, 0.2, 0.3, 0.4)
    motion = Motion(smooth(random_knots(rng, 5.0), state), state)
    for _ in range(100):
        before = motion.at(motion.start.time + rng.uniform(0.0, 0.6))
        motion = Motion(smooth(random_knots(rng, before.time), before), before)
        ends = np.append(motion.durations, 0.0)[: len(motion.coefficients), None]
        after = motion.at(before.time)
        for order, name in enumerate(("positions", "velocities", "accelerations")):
            assert np.abs(getattr(after, name) - getattr(before, name)).max() < 1e-9
            # Inside: the end of each polynomial against the beginning of the next.
            derivative = [np.polynomial.polynomial.polyder(c, order) for c in motion.coefficients]
            for k in range(len(derivative) - 1):
                end = np.polynomial.polynomial.polyval(ends[k, 0], derivative[k])
                assert np.abs(end - derivative[k + 1][0]).max() < 1e-9
    end = motion.at(motion.end + 1e-6)
    assert not np.concatenate([end.velocities, end.accelerations]).any()


def test_smoothing_leaves_a_resting_joint_at_rest():
    positions = np.array([[0.1], [0.2], [0.2], [0.2]])
    state = rest(0.0, 0.0)
    trajectory = JointTrajectory(0.0, [0.1, 0.2, 0.3, 0.4], positions, [[1.0], [0.0], [0.0], [0.0]])
    motion = Motion(smooth(trajectory, state), state)
    np.testing.assert_array_equal(motion.sample_many(np.linspace(0.2, 0.5, 20))[0], 0.2)


def test_what_remains_of_a_motion_is_followed_as_the_motion_was():
    rng = np.random.default_rng(2)
    state = rest(5.0, 0.1, 0.2, 0.3, 0.4)
    motion = Motion(smooth(random_knots(rng, 5.0), state), state)
    now = 5.0 + 0.5 * (motion.end - 5.0)
    rest_of_it = Motion(motion.remaining(now), motion.at(now))
    times = np.linspace(now, motion.end + 0.1, 50)
    np.testing.assert_allclose(rest_of_it.sample_many(times)[0], motion.sample_many(times)[0], atol=1e-8)
    assert motion.remaining(motion.end) is None


def test_brake_at_rest_is_a_hold():
    trajectory = brake(rest(2.0, 0.2), np.ones(1), np.ones(1))
    np.testing.assert_array_equal(trajectory.positions, [[0.2]])
    np.testing.assert_array_equal(trajectory.times, hold([0.2], 2.0).times)


@pytest.mark.parametrize("times", [[0.0, 0.1], [0.2, 0.1], [0.1, 0.1], [0.1, np.nan], [np.nan, 0.1], [0.1, np.inf]])
def test_times_that_do_not_increase_from_above_zero_are_refused(times):
    with pytest.raises(ValueError, match="strictly increasing"):
        JointTrajectory(0.0, times, np.zeros((2, 1)), np.zeros((2, 1)))


def test_knots_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="as many knots everywhere"):
        JointTrajectory(0.0, [0.1, 0.2], np.zeros((2, 3)), np.zeros((1, 3)))


def test_an_arm_is_led_into_a_trajectory_that_begins_elsewhere():
    times = 0.1 * np.arange(1, 9)
    line = np.stack([0.5 * times, 0.5 * times], axis=1)
    speeds = np.full((8, 2), 0.5)
    speeds[-1] = 0.0
    trajectory = JointTrajectory(10.0, times, line, speeds)
    start = JointState(10.2, np.array([0.0, 0.0]), np.array([0.1, 0.1]))
    led = approached(trajectory, start, 0.4, [0])
    np.testing.assert_array_equal(led.positions[:, 1], line[:, 1])  # a joint that does not count
    for kept in (slice(0, 2), slice(5, 8)):  # past, and after the approach
        np.testing.assert_allclose(led.positions[kept], line[kept], atol=1e-12)
        np.testing.assert_allclose(led.velocities[kept], speeds[kept], atol=1e-12)
    # Of an offset of 0.1 and a speed of 0.4 that lacks, a quarter of the way on: the quintic's own values.
    quintic = [1 - 10 * s**3 + 15 * s**4 - 6 * s**5 for s in (0.25, 0.5, 0.75)]
    slope = [0.4 * (s - 6 * s**3 + 8 * s**4 - 3 * s**5) for s in (0.25, 0.5, 0.75)]
    expected = -0.1 * np.array(quintic) - 0.4 * np.array(slope)
    np.testing.assert_allclose((led.positions - line)[2:5, 0], expected, atol=1e-12)


def test_a_trajectory_that_begins_where_the_arm_is_and_one_that_is_over_stay_as_they_are():
    times = np.array([0.1, 0.2, 0.3])
    trajectory = JointTrajectory(10.0, times, 0.5 * times[:, None], np.array([[0.5], [0.5], [0.0]]))
    led = approached(trajectory, JointState(10.05, np.array([0.025]), np.array([0.5])), 0.4, [0])
    np.testing.assert_allclose(led.positions, trajectory.positions, atol=1e-12)
    assert approached(trajectory, rest(11.0, 0.0), 0.4, [0]) is trajectory
