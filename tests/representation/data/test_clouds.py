from __future__ import annotations

import numpy as np
import pytest
import torch

from representation.data.back_projection import depth_to_points, random_points
from representation.data.clouds import clouds, frames_of_clouds, unit_sphere
from representation.data.frames import open_frames
from tests.policies.demonstrations import write_demonstrations
from tests.representation.data.test_frames import some

LENS = np.array([[20.0, 0.0, 4.0], [0.0, 25.0, 3.0], [0.0, 0.0, 1.0]])


def test_points_project_to_the_pixels_that_they_come_from():
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.3, 2.0, (6, 8)).astype(np.float32)
    depth[2, 3] = np.nan
    mask = rng.random((6, 8)) < 0.7
    points = depth_to_points(depth, LENS, mask)
    row, column = np.nonzero(mask & np.isfinite(depth))
    image = (LENS @ points.T).T
    np.testing.assert_allclose(image[:, :2] / image[:, 2:], np.stack([column, row], axis=1) + 0.5, atol=1e-4)
    np.testing.assert_array_equal(points[:, 2], depth[row, column])
    with pytest.raises(ValueError, match=r"expected \(H, W\), \(3, 3\)"):
        depth_to_points(depth, LENS, mask[:2])


def test_a_cloud_gets_its_size_without_losing_points_that_it_has_room_for():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(40, 3)).astype(np.float32)
    assert len(np.unique(random_points(points, 30, rng), axis=0)) == 30
    assert len(np.unique(random_points(points, 50, rng), axis=0)) == 40
    with pytest.raises(ValueError, match="at least 16 of known depth, found 3"):
        random_points(points[:3], 30, rng)


def test_clouds_come_to_the_unit_sphere_and_back():
    points = torch.randn(3, 50, 3) * 0.1 + torch.tensor([0.3, 0.1, 0.9])
    sphere, center, radius = unit_sphere(points)
    torch.testing.assert_close(sphere.norm(dim=2).amax(dim=1), torch.ones(3))
    torch.testing.assert_close(sphere * radius + center, points)


def test_clouds_without_pictures_are_drawn(tmp_path):
    points = np.random.default_rng(0).uniform(-1, 1, (3, 200, 3)).astype(np.float32)
    points[0, :, 0] = 0.0  # a wall that is seen from its edge
    frames = frames_of_clouds(points, {"label": np.arange(3)}, {"label": ("a", "b", "c")})
    np.testing.assert_array_equal(clouds(frames, np.array([1, 0])).numpy(), points[[1, 0]])
    columns = np.flatnonzero(frames.images[0].sum(axis=(0, 2)))
    assert len(columns) == 1
    assert (frames.images[1] > 0).any(axis=(0, 2)).sum() > 20
    with pytest.raises(ValueError, match=r"expected \['points'\]"):
        clouds(some(), np.array([0]))


def test_a_lerobot_dataset_gives_clouds_of_its_depth(tmp_path):
    write_demonstrations(tmp_path / "push", 1, np.random.default_rng(0))
    assert "points" not in open_frames(tmp_path / "push", "front", size=8).columns
    frames = open_frames(tmp_path / "push", "front", size=8, points=100)
    assert frames.columns["points"].shape == (len(frames), 100, 3)
    assert np.isfinite(frames.columns["points"]).all()
