from policies.execution.running_time import RunningTime


def test_it_is_what_the_clock_shows_while_that_goes_on():
    time = RunningTime()
    time.hear(999.0)  # a stamp from the future
    assert [time.at(100.0 + tick, 5.0 + tick) for tick in range(3)] == [100.0, 101.0, 102.0]


def test_while_the_clock_stands_still_time_goes_on_with_joint_states_and_no_faster_than_a_steady_clock():
    time = RunningTime()
    assert time.at(100.0, 5.0) == 100.0
    assert time.at(100.0, 5.5) == 100.0  # nothing shows that time goes on
    time.hear(100.4)
    assert time.at(100.0, 5.5) == 100.4
    time.hear(999.0)
    assert time.at(100.0, 5.5) == 100.5
    assert time.at(100.6, 5.6) == 100.6  # the clock is back


def test_a_clock_that_jumps_back_is_believed():
    time = RunningTime()
    time.at(100.0, 5.0)
    time.hear(100.0)
    assert time.at(20.0, 5.1) == 20.0
