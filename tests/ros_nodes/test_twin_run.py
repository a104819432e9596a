from __future__ import annotations

import numpy as np
import pytest

from policies.robots import get_robot
from ros_nodes.twin_run import Stretch, TwinOptions, run_twin, watchdog_trips
from sim.motion_trace import MotionTrace

SPEC = get_robot("panda")


def test_a_trip_is_counted_once_however_often_it_is_told():
    assert watchdog_trips(["MOVING", "HOLDING: no trajectory for 0.5 s", "HOLDING: no trajectory for 0.5 s"]) == 1
    lost = ["WAITING_FOR_STATE: no joint state for 0.3 s", "MOVING", "HOLDING: joint state is 0.6 s old by its stamp"]
    assert watchdog_trips(lost) == 2
    assert watchdog_trips(["MOVING", "HOLDING: emergency stop"]) == 0


def test_the_delay_of_a_command_is_from_the_newest_one_that_was_sent_before_it_was_taken():
    still = MotionTrace(np.zeros(0), np.zeros((0, 8)), np.zeros((0, 8)))
    sent, taken = np.array([1.0, 1.1, 1.2]), np.array([0.95, 1.01, 1.13, 1.25])
    assert Stretch(0.0, 2.0, sent, still, taken, 0).delays() == pytest.approx([0.01, 0.03, 0.05])
    assert len(Stretch(0.0, 2.0, np.zeros(0), still, taken, 0).delays()) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"minutes": 0.0}, "minutes: expected > 0, found 0.0"),
        ({"query_steps": -1}, "query_steps: expected at least 0, found -1"),
        ({"tasks": ("reach",)}, r"tasks: expected none for the known motion, found \['reach'\]"),
        ({"policy": "random", "tasks": ("juggle",)}, "found 'juggle'"),
    ],
)
def test_options_that_cannot_be_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        TwinOptions(**options)


def test_a_task_for_another_robot_than_the_policys_is_refused():
    with pytest.raises(ValueError, match="for panda, found 'transfer_cube'"):
        run_twin(TwinOptions(policy="random", tasks=("reach", "transfer_cube")))
