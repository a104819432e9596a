from __future__ import annotations

import numpy as np
import pytest
import torch

from policies.spatialvla.ego3d import Ego3DPositionEncoder, backproject_patches, transform_points
from representation.data.back_projection import depth_to_points

INTRINSICS = torch.tensor([[60.0, 0.0, 27.0], [0.0, 55.0, 29.0], [0.0, 0.0, 1.0]])


def tilted_plane_depth(size, cell):
    """Depth of the plane n . p = 1 at the centre of every cell, constant over the cell."""
    normal = torch.tensor([0.2, -0.1, 0.8])
    centre = (torch.arange(size // cell) + 0.5) * cell
    v, u = torch.meshgrid(centre, centre, indexing="ij")
    rays = torch.linalg.inv(INTRINSICS) @ torch.stack([u, v, torch.ones_like(u)]).reshape(3, -1)
    depth = (1 / (normal @ rays)).reshape(size // cell, size // cell)
    return normal, depth.repeat_interleave(cell, 0).repeat_interleave(cell, 1)[None]


def test_points_and_encoding_equal_the_reference(goldens):
    numbers = {name: torch.from_numpy(value) for name, value in np.load(goldens / "ego3d.npz").items()}
    points = backproject_patches(numbers["depth"], numbers["K"], patch=14, reso=2)
    torch.testing.assert_close(points, numbers["points"], atol=1e-5, rtol=0)
    encoder = Ego3DPositionEncoder(dim=40)
    encoder.load_state_dict({name[3:]: value for name, value in numbers.items() if name.startswith("sd.")})
    rows = numbers["points"][:, numbers["encoding_rows"]]
    torch.testing.assert_close(encoder.encode(rows), numbers["encoding"], atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder(rows), numbers["embed"], atol=1e-5, rtol=0)


def test_points_of_a_tilted_plane_lie_on_it():
    normal, depth = tilted_plane_depth(56, 7)
    points = backproject_patches(depth, INTRINSICS, patch=14, reso=2).reshape(-1, 3)
    torch.testing.assert_close(points @ normal, torch.ones(len(points)), atol=1e-5, rtol=0)


def test_scaling_image_and_intrinsics_together_leaves_points_unchanged():
    _, depth = tilted_plane_depth(56, 7)
    larger = depth.repeat_interleave(2, 1).repeat_interleave(2, 2)
    scaled = torch.diag(torch.tensor([2.0, 2.0, 1.0])) @ INTRINSICS
    torch.testing.assert_close(
        backproject_patches(larger, scaled, patch=28),
        backproject_patches(depth, INTRINSICS, patch=14),
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.parametrize("invalid", [0.0, float("nan"), float("inf"), -1.0])
def test_invalid_pixels_are_left_out_of_the_means(invalid):
    _, depth = tilted_plane_depth(56, 7)
    generator = torch.Generator().manual_seed(0)
    holes = torch.rand(depth.shape, generator=generator) < 0.3
    torch.testing.assert_close(
        backproject_patches(depth.masked_fill(holes, invalid), INTRINSICS),
        backproject_patches(depth, INTRINSICS),
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.parametrize("invalid", [0.0, float("nan"), -1.0])
def test_holes_move_a_point_by_less_than_a_centimetre_where_a_naive_mean_moves_it_by_ten(invalid):
    """30 % of the pixels of a tilted plane are unknown; a naive mean takes them for zeros."""
    _, depth = tilted_plane_depth(56, 1)
    truth = backproject_patches(depth, INTRINSICS)
    holes = torch.rand(depth.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    found = backproject_patches(depth.masked_fill(holes, invalid), INTRINSICS)
    naive = backproject_patches(depth.masked_fill(holes, 0.0), INTRINSICS, valid=torch.ones_like(holes))
    error, naive_error = ((points - truth).reshape(-1, 3).norm(dim=1) for points in (found, naive))
    assert error.max() < 0.01
    assert naive_error.mean() > 0.10


def test_an_empty_cell_takes_the_nearest_valid_cell():
    depth = torch.full((1, 56, 56), 2.0)
    depth[:, :, :7] = 1.0
    depth[:, 21:28, :7] = torch.nan
    points = backproject_patches(depth, INTRINSICS).reshape(4, 4, 2, 2, 3)
    assert points[1, 0, 1, 0, 2] == 1.0


def test_an_image_without_valid_depth_is_refused():
    depth = torch.ones(2, 56, 56)
    depth[1] = 0
    with pytest.raises(ValueError, match="found none in image 1"):
        backproject_patches(depth, INTRINSICS)


def test_transform_moves_every_point():
    points = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))
    transform = torch.eye(4).repeat(2, 1, 1)
    transform[:, :3, :3] = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    transform[:, :3, 3] = torch.tensor([1.0, 2.0, 3.0])
    moved = transform_points(points, transform).reshape(2, 5, 4, 3)
    x, y, z = points.reshape(2, 5, 4, 3).unbind(-1)
    torch.testing.assert_close(moved, torch.stack([1 - y, 2 + x, 3 + z], -1))


@pytest.mark.parametrize("cell", [1, 2, 4])
def test_cells_lie_where_the_clouds_of_encoders_have_them(cell):
    """Both back-projections of the package agree: a picture of cells is a smaller picture with a smaller camera."""
    rng = np.random.default_rng(0)
    intrinsics = np.array([[30.0, 0.0, 13.2], [0.0, 34.0, 9.7], [0.0, 0.0, 1.0]])
    small = rng.uniform(0.3, 2.0, (6, 8)).astype(np.float32)
    camera = intrinsics / np.array([[cell], [cell], [1.0]])
    cloud = depth_to_points(small, camera)
    depth = torch.from_numpy(np.kron(small, np.ones((cell, cell), np.float32)))[None]
    points = backproject_patches(depth, torch.from_numpy(intrinsics), patch=cell, reso=1)[0]
    np.testing.assert_allclose(points.numpy(), cloud, rtol=1e-5, atol=1e-6)
    hidden = depth.clone()
    hidden[:, :cell, :cell] = torch.nan  # its cell takes the depth beside it, the cloud leaves it out
    few = depth_to_points(hidden[0].numpy(), intrinsics)
    assert len(few) == depth.numel() - cell**2
    filled = backproject_patches(hidden, torch.from_numpy(intrinsics), patch=cell, reso=1)[0]
    np.testing.assert_allclose(filled[1:].numpy(), cloud[1:], rtol=1e-5, atol=1e-6)
