from __future__ import annotations

import numpy as np
import pytest

from policies.execution.joint_log import JointLog
from policies.interface import JointReadings, Observation


def filled(*stamps: float) -> JointLog:
    log = JointLog()
    for stamp in stamps:
        log.add(stamp, [stamp, -stamp])
    return log


def test_an_observation_takes_what_was_read_before_it_once_and_leaves_the_rest():
    log = filled(0.1, 0.2, 0.3, 0.4)
    taken = log.take(0.3)
    np.testing.assert_array_equal(taken.stamps, [0.1, 0.2])
    np.testing.assert_array_equal(taken.positions, [[0.1, -0.1], [0.2, -0.2]])
    np.testing.assert_array_equal(log.take(0.5).stamps, [0.4])
    assert log.take(0.6) is None


def test_time_that_starts_anew_forgets_what_is_then_still_to_come():
    log = filled(7.0, 7.1, 0.0, 0.1)
    np.testing.assert_array_equal(log.take(1.0).stamps, [0.0, 0.1])
    log = filled(1.0, 2.0)
    log.clear()
    assert log.take(3.0) is None


def test_a_reading_is_a_copy():
    log, positions = JointLog(), np.zeros(2)
    log.add(0.0, positions)
    positions[:] = 1
    assert not log.take(1.0).positions.any()


@pytest.mark.parametrize(
    ("stamps", "positions", "words"),
    [
        ([0.2, 0.1], np.zeros((2, 2)), "each later than the one before"),
        ([0.1], np.zeros((2, 2)), "positions: expected shape"),
        ([0.1], np.zeros((1, 3)), r"positions: expected shape \(None, 2\)"),
        ([0.1], [[np.nan, 0]], "expected finite"),
        ([0.5], np.zeros((1, 2)), "expected before 0.5 s"),
    ],
)
def test_readings_that_do_not_fit_their_observation_are_refused(stamps, positions, words):
    with pytest.raises(ValueError, match=words):
        Observation(0.5, {}, np.zeros(2), np.zeros(2), "", JointReadings(stamps, positions))
