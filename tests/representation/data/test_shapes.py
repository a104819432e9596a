from __future__ import annotations

import numpy as np
import pytest

from representation.data.shapes import NAMES, box, parts_of, ring, seen_cloud, shapes, sphere, tube


@pytest.mark.parametrize(
    ("part", "area"),
    [
        (sphere(0.5), np.pi),
        (box((1, 2, 3)), 2 * (8 + 12 + 24)),
        (tube(1.0, 0.5), 2 * np.pi + 2 * np.pi),
        (tube(1.0, 0.5, top=0.0), np.pi * np.sqrt(2) + np.pi),
        (ring(1.0, 0.25), np.pi**2),
    ],
)
def test_parts_have_their_areas_and_normals_point_out(part, area):
    found, draw = part
    points, normals = draw(2000, np.random.default_rng(0))
    assert found == pytest.approx(area)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-9)
    tube_of_ring = area == pytest.approx(np.pi**2)
    inner = points / np.linalg.norm(points[:, :2], axis=1, keepdims=True) * (1, 1, 0) if tube_of_ring else 0 * points
    assert (((points - inner) * normals).sum(axis=1) >= -1e-9).all()


def test_points_lie_evenly_on_cones():
    points, _ = tube(1.0, 0.5, top=0.0)[1](40_000, np.random.default_rng(0))
    side = points[points[:, 2] > -0.5]
    lower = (side[:, 2] < 0).mean()  # three quarters of the side lie in the lower half
    assert lower == pytest.approx(0.75, abs=0.01)


def test_clouds_show_one_side_and_differ():
    frames = shapes(16, 256, seed=0)
    assert frames.columns["points"].shape == (16, 256, 3)
    assert frames.columns["label"].tolist() == [*range(8), *range(8)]
    assert frames.names["label"] == NAMES
    ball = seen_cloud([sphere(1.0)], 500, np.random.default_rng(1))
    center = ball.mean(axis=0)
    assert np.linalg.norm(center) > 0.3  # half a ball
    np.testing.assert_array_equal(shapes(16, 256, seed=0).columns["points"], frames.columns["points"])
    with pytest.raises(ValueError, match=r"shape: expected one of .*mug.*, found 'cup'"):
        parts_of("cup", np.random.default_rng(0))
