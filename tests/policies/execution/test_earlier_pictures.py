from __future__ import annotations

import numpy as np

from policies.execution.earlier_pictures import EarlierPictures


def picture(value: int) -> np.ndarray:
    return np.full((2, 2, 3), value, np.uint8)


def before(pictures: EarlierPictures, stamp: float, taken: float | None = None) -> int | None:
    found = pictures.before("front", stamp, stamp if taken is None else taken)
    return None if found is None else int(found[1][0, 0, 0])


def test_jitter_of_the_stamps_is_tolerated_and_stale_pictures_are_not():
    pictures = EarlierPictures(("front",), 0.04, 16)
    for value, stamp in enumerate((0.0, 0.045)):
        pictures.add("front", stamp, picture(value))
    assert [before(pictures, stamp) for stamp in (0.0, 0.04, 0.08, 0.2)] == [None, 0, 1, None]


def test_the_nearest_of_a_fast_camera_is_taken_but_not_its_picture_of_now():
    pictures = EarlierPictures(("front",), 0.04, 16)
    for value in range(9):
        pictures.add("front", 0.01 * value, picture(value))
    assert before(pictures, 0.08) == 4
    assert before(pictures, 0.08, taken=0.04) == 3


def test_the_same_stamp_again_replaces():
    pictures = EarlierPictures(("front",), 0.04, 16)
    pictures.add("front", 0.0, picture(1))
    pictures.add("front", 0.0, picture(2))
    assert before(pictures, 0.04) == 2


def test_memory_is_bounded_and_can_be_emptied():
    pictures = EarlierPictures(("front", "wrist"), 0.04, 4)
    for step in range(10):
        pictures.add("front", 0.04 * step, picture(step))
    assert [before(pictures, 0.04 * step) for step in (6, 7, 10)] == [None, 6, 9]
    pictures.clear()
    assert before(pictures, 0.4) is None
