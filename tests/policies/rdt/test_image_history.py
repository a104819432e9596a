from __future__ import annotations

import numpy as np
import pytest

from policies.rdt.image_history import CAPACITY, ImageHistory
from policies.rdt.images import CAMERA_ROLES


def picture(level):
    return np.full((2, 2, 3), level, np.uint8)


def levels(history, stamp):
    return [None if item is None else int(item[0, 0, 0]) for item in history.pictures(stamp)]


@pytest.fixture
def history():
    return ImageHistory(control_hz=25.0)


def test_the_first_observation_has_no_past(history):
    for level, role in enumerate(CAMERA_ROLES):
        history.add(role, 1.0, picture(level))
    assert levels(history, 1.0) == [None, None, None, 0, 1, 2]


def test_past_and_present_are_one_step_apart_at_any_rate_of_the_camera(history):
    for level in range(9):
        history.add("exterior", 0.01 * level, picture(level))
    assert levels(history, 0.08) == [4, None, None, 8, None, None]


def test_jitter_of_the_stamps_is_tolerated_and_stale_pictures_are_not(history):
    history.add("exterior", 0.00, picture(1))
    history.add("exterior", 0.045, picture(2))
    assert levels(history, 0.04)[::3] == [1, 2]
    assert levels(history, 0.08)[::3] == [2, None]
    assert levels(history, 0.20)[::3] == [None, None]


def test_a_lost_camera_leaves_the_others_as_they_are(history):
    for step in range(3):
        for role in CAMERA_ROLES:
            if step < 2 or role != "left_wrist":
                history.add(role, 0.04 * step, picture(10 * step))
    assert levels(history, 0.08) == [10, 10, 10, 20, 20, None]


def test_a_stamp_that_jumps_back_forgets_the_future_of_every_camera(history):
    for step in range(3):
        for role in CAMERA_ROLES:
            history.add(role, 5.0 + 0.04 * step, picture(step))
    history.add("exterior", 0.0, picture(99))
    assert levels(history, 5.08) == [None] * 6
    assert levels(history, 0.0) == [None, None, None, 99, None, None]
    history.add("exterior", 0.04, picture(100))
    assert levels(history, 0.04)[::3] == [99, 100]


def test_the_same_stamp_again_replaces(history):
    history.add("exterior", 0.0, picture(1))
    history.add("exterior", 0.0, picture(2))
    assert levels(history, 0.0)[3] == 2
    assert levels(history, 0.04)[0] == 2


def test_memory_is_bounded_and_reset_empties_it(history):
    for step in range(1000):
        history.add("exterior", 1e-4 * step, picture(1))
    assert len(history._frames["exterior"]) == CAPACITY
    history.reset()
    assert levels(history, 0.0999) == [None] * 6


@pytest.mark.parametrize(
    ("role", "stamp", "message"), [("top", 0.0, "found 'top'"), ("exterior", float("nan"), "finite seconds, found nan")]
)
def test_what_cannot_be_sorted_is_refused(history, role, stamp, message):
    with pytest.raises(ValueError, match=message):
        history.add(role, stamp, picture(0))
