"""Random changes of images, on tensors, drawn from a CPU generator that is passed in."""

from __future__ import annotations

import torch
from torch import Tensor


def jitter_colors(pixels: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast and colour balance of each image by random factors.

    Args:
        pixels: (B, 3, H, W) in [0, 1].
        strength: largest change: of contrast relatively, of brightness and of each channel's gain by half of it.
        generator: a CPU generator that draws the factors.

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    if strength == 0:
        return pixels

    def draw(channels: int, size: float) -> Tensor:
        uniform = torch.rand(len(pixels), channels, 1, 1, generator=generator)
        return ((2 * uniform - 1) * size).to(pixels)

    contrast, brightness, gain = draw(1, strength), draw(1, strength / 2), draw(3, strength / 2)
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    return (((pixels - mean) * (1 + contrast) + mean) * (1 + gain) + brightness).clamp(0, 1)
