from __future__ import annotations

import torch

from representation.data.augmentations import jitter_colors


def test_color_jitter_is_drawn_from_its_generator_and_stays_in_range():
    pixels = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    first, again, other = (jitter_colors(pixels, 0.3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 1
    assert 0.01 < (first - pixels).abs().mean() < 0.3
    assert torch.equal(jitter_colors(pixels, 0.0, torch.Generator()), pixels)
