from __future__ import annotations

import numpy as np
import pytest

from policies.calibration.intrinsics import calibrate_intrinsics
from tests.policies.calibration.synthetic import BOARD, MATRIX, SIZE, pose, project

DISTORTION = np.array([-0.12, 0.05, 0.001, -0.0015, 0.0])


def detections(rng: np.random.Generator, count: int, tilt: float, reach: float, noise: float):
    found = []
    while len(found) < count:
        facing = pose(tuple(rng.uniform(-tilt, tilt, 3)), (0, 0, 0))
        depth = rng.uniform(0.3, 0.45)
        aim = rng.uniform(-reach, reach, 2) * (0.5 * depth, 0.36 * depth)
        facing[:3, 3] = (*aim, depth) - facing[:3, :3] @ np.array([0.105, 0.075, 0.0])
        view = project(facing, MATRIX, DISTORTION)
        inside = ((view.pixels > 0) & (view.pixels < SIZE[::-1])).all(axis=1)
        if inside.sum() >= 12:
            pixels = view.pixels[inside] + rng.normal(0, noise, (inside.sum(), 2))
            found.append(type(view)(view.ids[inside], pixels))
    return found


def test_lens_and_distortion_are_recovered_in_the_pixel_convention_of_the_package():
    rng = np.random.default_rng(0)
    result = calibrate_intrinsics(BOARD, detections(rng, 25, 35.0, 1.0, 0.05), SIZE)
    np.testing.assert_allclose(result.intrinsics.matrix, MATRIX, atol=1.5)
    np.testing.assert_allclose(result.intrinsics.distortion[:2], DISTORTION[:2], atol=0.03)
    assert result.rms_px < 0.1
    assert result.coverage >= 0.8
    error = np.abs(result.intrinsics.matrix - MATRIX)[[0, 1, 0, 1], [0, 1, 2, 2]]
    assert (error < 5 * result.deviations).all(), "the standard deviations tell the truth"


@pytest.mark.parametrize(
    ("count", "tilt", "reach", "words"),
    [
        (5, 35.0, 1.0, "at least 8 views, found 5"),
        (20, 35.0, 0.05, "cells"),
        (20, 2.0, 0.1, "tilted"),
    ],
)
def test_views_that_do_not_determine_the_lens_are_refused_by_reason(count, tilt, reach, words):
    with pytest.raises(ValueError, match=words):
        calibrate_intrinsics(BOARD, detections(np.random.default_rng(1), count, tilt, reach, 0.0), SIZE)
