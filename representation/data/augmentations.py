"""Random changes of images, on tensors, drawn from a CPU generator that is passed in."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


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


def random_squares(pixels: Tensor, size: int, smallest: float, generator: torch.Generator) -> Tensor:
    """Bring a random square of each picture to one size.

    Args:
        pixels: (B, C, H, W); the frames of a clip may be channels of one picture.
        size: side of the result, pixels.
        smallest: side of the smallest square, as a share of the shorter side.
        generator: a CPU generator that draws side and place.

    Returns:
        (B, C, size, size).
    """
    count, _, height, width = pixels.shape
    side = smallest + (1 - smallest) * torch.rand(count, generator=generator)
    place = 2 * torch.rand(count, 2, generator=generator) - 1
    shorter = min(height, width)
    half = side[:, None] * shorter / torch.tensor([width, height])  # of the square, in halves of the picture
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = half[:, 0], half[:, 1]
    theta[:, :, 2] = place * (1 - half)
    grid = F.affine_grid(theta, [count, 3, size, size], align_corners=False).to(pixels)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
