from __future__ import annotations

import numpy as np

from representation.benchmarks.segmentation import error, places, read_off
from representation.data.frames import SEGMENTATION, Frames


def test_places_are_the_middles_of_pixels_where_there_are_enough():
    shown = np.zeros((2, 16, 16), np.uint8)
    shown[0, 0:4, 8:12], shown[1, 3, 3] = 1, 1
    frames = Frames(np.zeros((2, 16, 16, 3), np.uint8), np.arange(2), {SEGMENTATION: shown}, {SEGMENTATION: ("a", "b")})
    true, seen = places(frames)
    np.testing.assert_allclose(true[0, 1], [2 * 10 / 16 - 1, 2 * 2 / 16 - 1], atol=1e-5)
    assert seen[:, 1].tolist() == [True, False]


def test_the_error_is_a_share_of_the_side_over_what_is_seen():
    true, found, seen = np.zeros((3, 3, 2)), np.zeros((3, 3, 2)), np.ones((3, 3), bool)
    found[:, 0], found[:, 1], found[:, 2] = 9.0, (0.6, 0.8), (0.2, 0.0)
    seen[0, 2], found[0, 2] = False, 9.0
    assert abs(error(found, true, seen) - (0.5 + 0.1) / 2) < 1e-9


def test_places_are_read_off_where_they_are_told():
    rng = np.random.default_rng(0)
    vectors, seen = rng.normal(size=(400, 6)), rng.random((400, 2)) < 0.8
    true = np.stack([np.zeros((400, 2)), vectors @ rng.normal(size=(6, 2))], axis=1)
    found = read_off(vectors, np.arange(300), np.arange(300, 400), true, seen)
    assert np.abs(found[:, 1] - true[300:, 1]).mean() < 0.5 * np.abs(true[300:, 1]).mean()
