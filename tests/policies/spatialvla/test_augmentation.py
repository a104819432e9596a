from __future__ import annotations

import colorsys
from dataclasses import replace

import numpy as np
import pytest
import torch

from policies.spatialvla.augmentation import CROP_AREA, augment, change_hsv, crop
from policies.spatialvla.config import SpatialVLAConfig
from policies.spatialvla.ego3d import backproject_patches
from tests.policies.spatialvla.conftest import make_frames, make_processor

SIZE = 32
INTRINSICS = torch.tensor([[60.0, 0.0, 15.0], [0.0, 55.0, 17.0], [0.0, 0.0, 1.0]])
BATCH, SIDE = 4, CROP_AREA**0.5
CENTRES = torch.arange(SIZE) + 0.5


def drawn_corners():
    return (1 - SIDE) * torch.rand(BATCH, 2, generator=torch.Generator().manual_seed(0))


def ruler(depth):
    """Pictures whose red tells a pixel's column, and green its row, as shares of the picture."""
    column, row = torch.meshgrid(CENTRES / SIZE, CENTRES / SIZE, indexing="xy")
    pixels = torch.stack([column, row, torch.zeros_like(row)]).expand(BATCH, 3, SIZE, SIZE)
    return {
        "pixel_values": pixels,
        "depth": depth.expand(BATCH, SIZE, SIZE),
        "intrinsics": INTRINSICS.expand(BATCH, 3, 3),
    }


def points_of(inputs):
    """The point (B, S, S, 3) of every pixel."""
    points = backproject_patches(inputs["depth"], inputs["intrinsics"], patch=1, reso=1)
    return points.view(BATCH, SIZE, SIZE, 3)


def test_every_pixel_of_a_crop_is_the_point_that_its_colour_was():
    """Where the colour came from, to fractions of a pixel, is read from the colour itself."""
    cropped = crop(ruler(torch.tensor(0.7)), drawn_corners(), SIDE)
    at = SIZE * cropped["pixel_values"][:, :2].permute(0, 2, 3, 1)  # column, row in the picture before
    ray = torch.cat([at, torch.ones(BATCH, SIZE, SIZE, 1)], dim=-1) @ torch.linalg.inv(INTRINSICS).T
    inside = ((at > 0.5 + 1e-4) & (at < SIZE - 0.5 - 1e-4)).all(dim=-1)  # beyond, the border is repeated
    assert inside.float().mean() > 0.95
    torch.testing.assert_close(points_of(cropped)[inside], (0.7 * ray)[inside], atol=1e-6, rtol=0)
    assert not torch.allclose(cropped["intrinsics"], INTRINSICS, atol=0.5)


def test_points_of_a_tilted_plane_stay_on_it_to_half_a_pixel():
    normal = torch.tensor([0.2, -0.1, 0.8])
    v, u = torch.meshgrid(CENTRES, CENTRES, indexing="ij")
    rays = torch.stack([u, v, torch.ones_like(u)], dim=-1) @ torch.linalg.inv(INTRINSICS).T
    inputs = ruler(1 / (rays @ normal))
    torch.testing.assert_close(points_of(inputs) @ normal, torch.ones(BATCH, SIZE, SIZE))
    off = (points_of(crop(inputs, drawn_corners(), SIDE)) @ normal - 1).abs()
    half_a_pixel = inputs["depth"].amax() * (0.5 * normal[:2].abs() / INTRINSICS.diagonal()[:2]).sum()
    assert 0 < off.max() <= half_a_pixel


def test_a_crop_by_whole_pixels_is_the_picture_cut_out():
    """Of half the side, so that each pixel becomes two by two."""
    generator = torch.Generator().manual_seed(0)
    inputs = ruler(torch.rand(SIZE, SIZE, generator=generator) + 0.5)
    inputs["depth"] = inputs["depth"].clone()
    inputs["depth"][:, 10, 9] = torch.nan
    left, top = 4, 8
    cropped = crop(inputs, torch.tensor([[left, top]]).expand(BATCH, 2) / SIZE, 0.5)
    cut = inputs["depth"][:, top : top + 16, left : left + 16]
    torch.testing.assert_close(cropped["depth"], cut.repeat_interleave(2, 1).repeat_interleave(2, 2), equal_nan=True)
    expected = torch.tensor([[120.0, 0.0, 22.0], [0.0, 110.0, 18.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(cropped["intrinsics"], expected.expand(BATCH, 3, 3))


def test_the_whole_picture_is_itself():
    inputs = ruler(torch.tensor(1.0))
    for name, value in crop(inputs, torch.zeros(BATCH, 2), 1.0).items():
        torch.testing.assert_close(value, inputs[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("factor", "turn"), [(1.0, 0.0), (1.2, 0.05), (0.8, -0.05), (3.0, 0.4), (0.0, 0.5)])
def test_saturation_and_hue_change_as_in_the_hsv_of_python(factor, turn):
    pixels = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pixels[0, :, 0] = torch.tensor(
        [[0.0, 0.5, 1.0, 1.0, 0.0, 0.0], [0.0, 0.5, 1.0, 0.0, 1.0, 0.0], [0.0, 0.5, 1.0, 0, 0, 1]]
    )
    found = change_hsv(pixels, torch.full((2, 1, 1, 1), factor), torch.full((2, 1, 1, 1), turn))
    for before, after in zip(
        pixels.permute(0, 2, 3, 1).reshape(-1, 3), found.permute(0, 2, 3, 1).reshape(-1, 3), strict=True
    ):
        hue, saturation, value = colorsys.rgb_to_hsv(*before.tolist())
        expected = colorsys.hsv_to_rgb((hue + turn) % 1, min(1.0, saturation * factor), value)
        assert after.tolist() == pytest.approx(expected, abs=1e-6)


def test_each_picture_is_changed_by_its_own_draws_and_stays_in_range():
    inputs = ruler(torch.tensor(1.0))
    first, again, other = (augment(inputs, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in inputs)
    assert not torch.equal(first["pixel_values"], other["pixel_values"])
    assert not torch.equal(first["pixel_values"][0], first["pixel_values"][1])
    assert torch.equal(first["pixel_values"], first["pixel_values"].clamp(0, 1))
    focal = first["intrinsics"][:, 0, 0] / INTRINSICS[0, 0]
    torch.testing.assert_close(focal, torch.full((BATCH,), CROP_AREA**-0.5))
    torch.testing.assert_close(ruler(torch.tensor(1.0)), inputs, msg="the inputs are not changed in place")


@pytest.mark.parametrize("ego3d", [True, False])
def test_all_other_inputs_of_the_model_stay(ego3d):
    processor = make_processor(replace(SpatialVLAConfig.tiny(), use_ego3d=ego3d))
    inputs = processor.collate(*make_frames(np.random.default_rng(0), 3).values())
    changed = augment(inputs, torch.Generator().manual_seed(0))
    assert changed.keys() == inputs.keys()
    same = {name for name, value in changed.items() if torch.equal(value, inputs[name])}
    assert same == set(inputs) - {"pixel_values", "depth", "intrinsics"}
