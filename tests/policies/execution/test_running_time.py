import pytest

from policies.execution.running_time import AHEAD_S, RunningTime


def test_it_is_what_the_clock_shows_while_that_goes_on():
    time = RunningTime()
    time.hear(999.0, 5.0)  # a stamp from the future
    assert [time.at(100.0 + tick, 5.0 + tick) for tick in range(3)] == [100.0, 101.0, 102.0]


def test_while_the_clock_stands_still_time_goes_on_with_joint_states_and_no_faster_than_a_steady_clock():
    time = RunningTime()
    assert time.at(100.0, 5.0) == 100.0
    assert time.at(100.0, 5.5) == 100.0  # nothing shows that time goes on
    time.hear(100.4, 5.45)
    assert time.at(100.0, 5.45) == 100.4
    assert time.at(100.0, 5.46) == pytest.approx(100.41)  # between two joint states
    assert time.at(100.0, 9.0) == 100.4 + AHEAD_S  # no more of them come
    time.hear(999.0, 9.0)
    assert time.at(100.0, 9.0) == 104.0
    assert time.at(104.1, 9.1) == 104.1  # the clock is back


def test_a_clock_that_jumps_back_is_believed():
    time = RunningTime()
    time.at(100.0, 5.0)
    time.hear(100.0, 5.0)
    assert time.at(20.0, 5.1) == 20.0
