from __future__ import annotations

import torch

from representation.data.augmentations import jitter_colors, random_blurs, random_flips, random_greys


def test_color_jitter_is_drawn_from_its_generator_and_stays_in_range():
    pixels = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    first, again, other = (jitter_colors(pixels, 0.3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 1
    assert 0.01 < (first - pixels).abs().mean() < 0.3
    assert torch.equal(jitter_colors(pixels, 0.0, torch.Generator()), pixels)


def test_a_share_of_the_pictures_is_mirrored_or_loses_its_colour_and_the_others_stay():
    pixels = torch.rand(400, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    luma = 0.299 * pixels[:, 0] + 0.587 * pixels[:, 1] + 0.114 * pixels[:, 2]
    for change, changed in ((random_flips, pixels.flip(-1)), (random_greys, luma[:, None].expand_as(pixels))):
        found = change(pixels, 0.3, torch.Generator().manual_seed(1))
        is_changed = torch.isclose(found, changed, atol=1e-6).flatten(1).all(dim=1)
        assert torch.equal(found[~is_changed], pixels[~is_changed])
        assert 0.2 < is_changed.float().mean() < 0.4
        assert torch.equal(change(pixels, 0.0, torch.Generator()), pixels)


def test_a_blurred_point_has_the_shape_of_a_gaussian_and_keeps_its_light():
    pixels = torch.zeros(50, 3, 21, 21)
    pixels[:, 1, 10, 10] = 1.0
    blurred = random_blurs(pixels, 1.0, 2.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(blurred.sum(dim=(1, 2, 3)), torch.ones(50))
    assert (blurred[:, (0, 2)] == 0).all()
    places = torch.arange(21.0) - 10
    spread = ((blurred[:, 1].sum(dim=1) * places**2).sum(dim=1)).sqrt()
    assert 0.0 <= spread.min() < 0.5
    assert 1.2 < spread.max() <= 2.0
    torch.testing.assert_close(blurred, blurred.transpose(-1, -2))
