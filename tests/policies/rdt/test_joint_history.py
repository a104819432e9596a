from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from policies.interface import JointReadings, Observation
from policies.rdt.embodiment import FRANKA_EEF, PANDA
from policies.rdt.joint_history import KEPT_IN_A_STEP, JointHistory, joint_window
from policies.rdt.unified_space import SLOTS

BODY = replace(PANDA, state_offset=(0.5, *(0.0,) * 7))
PERIOD = 1 / BODY.control_hz
FIRST, GRIPPER = SLOTS["arm_joint_0_pos"], SLOTS["gripper_open"]
FIRST_RATE, GRIPPER_RATE = SLOTS["arm_joint_0_vel"], SLOTS["gripper_open_vel"]


def joints(first: float, gripper: float = 0.0) -> np.ndarray:
    return np.array([first, *(0.0,) * 6, gripper])


def observation(stamp: float, first: float, readings: JointReadings | None = None) -> Observation:
    return Observation(stamp, {}, joints(first), np.zeros(8), "go", readings)


def test_positions_and_rates_lie_in_their_slots_and_the_newest_is_last():
    positions = np.stack([joints(0.5, 0.0), joints(0.6, 0.02), joints(0.9, 0.04)])
    vectors, present = joint_window(BODY, np.array([0.0, PERIOD, 2 * PERIOD]), positions, 2 * PERIOD, 3)
    assert present.all()
    np.testing.assert_allclose(vectors[:, FIRST], [0, 0.1, 0.4], atol=1e-6)
    np.testing.assert_allclose(vectors[:, GRIPPER], [0, 0.5, 1], atol=1e-6)
    np.testing.assert_allclose(vectors[:, FIRST_RATE], [0, 1, 3], atol=1e-5)
    np.testing.assert_allclose(vectors[:, GRIPPER_RATE], [0, 5, 5], atol=1e-5)
    used = {SLOTS[name] for name in BODY.names} | set(range(15, 22)) | {GRIPPER_RATE}
    assert not np.delete(vectors, sorted(used), axis=1).any()


def test_what_no_reading_tells_is_missing_and_has_no_rate():
    stamps = np.array([0.0, 3 * PERIOD, 4 * PERIOD])
    vectors, present = joint_window(BODY, stamps, np.stack([joints(1.0)] * 3), 4 * PERIOD, 6)
    assert present.tolist() == [False, True, False, False, True, True]
    assert not vectors[~present].any()
    assert not vectors[:, FIRST_RATE].any()
    vectors, present = joint_window(BODY, np.zeros(0), np.zeros((0, 8)), 0.0, 3)
    assert vectors.shape == (3, 128)
    assert not present.any()


def test_rates_count_the_time_that_really_passed_between_readings_off_the_beat():
    stamps = np.array([0.0, 1.3 * PERIOD, 2.2 * PERIOD])
    positions = np.stack([joints(2 * stamp) for stamp in stamps])
    vectors, present = joint_window(BODY, stamps, positions, 2.2 * PERIOD, 3)
    assert present.all()
    np.testing.assert_allclose(vectors[1:, FIRST_RATE], 2.0, rtol=1e-4)


def test_a_history_of_every_step_is_that_of_few_observations_with_the_readings_between():
    each, few = JointHistory(BODY, 12), JointHistory(BODY, 12)
    stamps = np.arange(20) * PERIOD
    positions = np.random.default_rng(0).uniform(-1, 1, (20, 8)) * 0.04
    for step in range(20):
        each.add(Observation(stamps[step], {}, positions[step], np.zeros(8), "go"))
        if step % 4 == 3:
            between = slice(max(0, step - 3), step)
            readings = JointReadings(stamps[between], positions[between])
            few.add(Observation(stamps[step], {}, positions[step], np.zeros(8), "go", readings))
    for one, other in zip(each.window(stamps[-1]), few.window(stamps[-1]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert few.window(stamps[-1])[1].all()


def test_observations_alone_leave_gaps():
    history = JointHistory(BODY, 5)
    for step in (0, 4):
        history.add(observation(step * PERIOD, 0.0))
    assert history.window(4 * PERIOD)[1].tolist() == [True, False, False, False, True]


def test_another_episode_begins_without_the_one_before():
    history = JointHistory(BODY, 4)
    for step in range(4):
        history.add(observation(7.0 + step * PERIOD, 1.0))
    history.add(observation(0.0, 0.5))  # time started anew
    vectors, present = history.window(0.0)
    assert present.tolist() == [False, False, False, True]
    assert not vectors.any()
    history.reset()
    assert not history.window(0.0)[1].any()


def test_an_arm_that_is_read_often_is_kept_in_bounds_and_its_newest_reading_counts():
    history, hz = JointHistory(BODY, 4), 1000
    stamps = np.arange(2 * hz) / hz
    positions = np.stack([joints(stamp) for stamp in stamps])
    history.add(observation(2.0, 2.0, JointReadings(stamps, positions)))
    assert len(history._readings) <= 2 * KEPT_IN_A_STEP * 4 + 2
    vectors, present = history.window(2.0)
    assert present.all()
    np.testing.assert_allclose(vectors[:, FIRST] + 0.5, 2.0 - PERIOD * np.arange(3, -1, -1), atol=PERIOD / 8)
    assert vectors[-1, FIRST] == 1.5
    np.testing.assert_allclose(vectors[1:, FIRST_RATE], 1.0, rtol=1e-3)


def test_a_tools_pose_has_no_such_window():
    with pytest.raises(ValueError, match="unified space: expected names"):
        joint_window(FRANKA_EEF, np.zeros(1), np.zeros((1, 10)), 0.0, 2)
