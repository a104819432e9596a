"""The looks of the tabletop: lights, table, room, arm, bin and objects are as in the golden pictures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sim.rendering import PROFILES
from tests.sim.golden_tabletop import golden_file, take


@pytest.mark.parametrize("profile", PROFILES)
def test_the_tabletop_looks_as_in_the_golden_picture(profile):
    view, centres = take(profile)
    golden = np.asarray(Image.open(golden_file(profile)))
    difference = np.abs(view.rgb.astype(int) - golden.astype(int))
    assert difference.mean() < 2.0
    assert np.mean(difference.max(axis=-1) > 24) < 0.01
    # An object is too small a share of the picture to count there.
    assert len(centres) >= 4
    world_to_camera = np.linalg.inv(view.base_from_camera)
    seen = view.intrinsics @ (world_to_camera[:3, :3] @ centres.T + world_to_camera[:3, 3:])
    for column, row in (seen[:2] / seen[2]).T.astype(int):
        patch = slice(row - 1, row + 2), slice(column - 1, column + 2)
        assert np.abs(view.rgb[patch].mean(axis=(0, 1)) - golden[patch].mean(axis=(0, 1))).max() < 12
