from __future__ import annotations

import pytest
import torch

from policies.spatialvla.ego3d import backproject_patches
from policies.spatialvla.image_geometry import fit_box, resize_depth, resize_intrinsics, resize_rgb

INTRINSICS = torch.tensor([[[300.0, 0.0, 160.0], [0.0, 300.0, 120.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)


def world_plane_depth():
    """Depth images of a constant-depth scene seen at 240 x 320."""
    return torch.full((1, 240, 320), 1.5)


@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_points_reproject_to_where_they_were_seen_in_the_original_image(fit):
    box = fit_box(240, 320, fit)
    depth = resize_depth(world_plane_depth(), box, 32)
    points = backproject_patches(depth, resize_intrinsics(INTRINSICS, box, 32), patch=8, reso=2).reshape(4, 4, 2, 2, 3)
    corner = points[0, 0, 0, 0].double()
    pixel = INTRINSICS[0] @ (corner / corner[2])
    top, left, height, width = box
    expected = torch.tensor([left + width / 16, top + height / 16], dtype=torch.float64)
    torch.testing.assert_close(pixel[:2], expected, atol=1e-4, rtol=0)


def test_crop_takes_the_centre_square():
    assert fit_box(240, 320, "crop") == (0, 40, 240, 240)
    assert fit_box(240, 320, "squash") == (0, 0, 240, 320)


def test_depth_resize_ignores_invalid_pixels_and_keeps_empty_ones_unknown():
    depth = torch.full((1, 8, 8), 2.0)
    depth[0, 0, 0] = 0.0
    depth[0, 6:, 6:] = torch.nan
    resized = resize_depth(depth, (0, 0, 8, 8), 4)
    assert resized[0, 0, 0] == 2.0
    assert torch.isnan(resized[0, 3, 3])
    assert int(torch.isnan(resized).sum()) == 1


def test_images_of_the_model_size_pass_unchanged():
    rgb = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(resize_rgb(rgb, (0, 0, 16, 16), 16).permute(0, 2, 3, 1), rgb)


def test_an_unknown_fit_is_refused():
    with pytest.raises(ValueError, match="'crop' or 'squash', found 'pad'"):
        fit_box(4, 4, "pad")
