from __future__ import annotations

import numpy as np
import pytest

from policies.execution.gripper_goals import RETRY_S, GripperGoals, led_to
from policies.execution.trajectory import JointTrajectory

STILL = 1e-4


def led(times, places, stamp=10.0):
    places = np.array(places)[:, None]
    return JointTrajectory(stamp, np.array(times), places, np.zeros_like(places))


def goals(min_interval_s=0.0):
    return GripperGoals(0.0, 0.04, min_interval_s)


def test_a_closing_is_asked_for_as_a_whole_when_it_begins():
    closing = led([0.1, 0.5, 0.7, 0.9, 1.5], [0.04, 0.04, 0.02, 0.0, 0.0])
    assert led_to(closing, 10.3, STILL) == 0.04
    assert led_to(closing, 10.51, STILL) == 0.0
    assert led_to(closing, 10.8, STILL) == 0.0
    assert led_to(closing, 12.0, STILL) == 0.0


def test_what_turns_back_or_pauses_is_asked_for_up_to_there():
    assert led_to(led([0.1, 0.3, 0.5], [0.04, 0.01, 0.03]), 10.2, STILL) == 0.01
    assert led_to(led([0.1, 0.3, 0.5, 0.7], [0.04, 0.02, 0.02, 0.0]), 10.2, STILL) == 0.02


def test_a_trajectory_that_has_not_begun_asks_for_its_first_place():
    assert led_to(led([0.5, 0.9], [0.03, 0.0]), 10.0, STILL) == 0.03


def test_the_same_goal_is_sent_once_and_small_changes_are_not_sent():
    decides = goals()
    assert decides.due(10.0, 0.0) is None
    decides.follow(led([0.1], [0.02]))
    assert decides.due(10.2, 1.0) == 0.02
    assert decides.due(10.3, 2.0) is None
    decides.follow(led([0.1], [0.0204]))
    assert decides.due(10.3, 3.0) is None
    decides.follow(led([0.1], [0.022]))
    assert decides.due(10.3, 4.0) == 0.022


def test_an_end_of_the_range_is_always_asked_for_and_never_passed():
    decides = goals()
    decides.follow(led([0.1], [0.0005]))
    assert decides.due(10.2, 0.0) == 0.0005
    decides.follow(led([0.1], [-0.01]))
    assert decides.due(10.2, 1.0) == 0.0
    assert decides.due(10.2, 2.0) is None


def test_goals_keep_apart_and_the_newest_is_sent_then():
    decides = goals(min_interval_s=0.5)
    decides.follow(led([0.1], [0.01]))
    assert decides.due(10.2, 1.0) == 0.01
    decides.follow(led([0.1], [0.03]))
    assert decides.due(10.3, 1.2) is None
    decides.follow(led([0.1], [0.04]))
    assert decides.due(10.6, 1.6) == 0.04


def test_a_goal_that_failed_is_asked_for_again_after_a_while():
    decides = goals()
    decides.follow(led([0.1], [0.0]))
    assert decides.due(10.2, 1.0) == 0.0
    decides.fail(1.5)
    assert decides.due(10.2, 1.5 + 0.9 * RETRY_S) is None
    assert decides.due(10.2, 1.5 + 1.1 * RETRY_S) == 0.0


def test_after_a_cancelled_trajectory_nothing_is_asked_for():
    decides = goals()
    decides.follow(led([0.1], [0.0]))
    decides.follow(None)
    assert decides.due(10.2, 1.0) is None


def test_an_empty_range_is_refused():
    with pytest.raises(ValueError, match=r"expected a range of places, found 0\.04 to 0\.04"):
        GripperGoals(0.04, 0.04, 0.0)
