"""Random changes of images, on tensors, drawn from a CPU generator that is passed in."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

WIDEST_BLUR = 2 / 224  # standard deviation, as a share of the side of a picture


def random_view(
    pixels: Tensor,
    size: int,
    generator: torch.Generator,
    *,
    smallest_crop: float = 1.0,
    jitter: float = 0.0,
    grey: float = 0.0,
    blur: float = 0.0,
    flip: float = 0.0,
) -> Tensor:
    """One view of each picture, for objectives that compare two of them.

    Args:
        pixels: (B, 3, H, W) in [0, 1].
        size: side R of the views, pixels.
        generator: a CPU generator.
        smallest_crop: side of the smallest random square, as a share of the picture's.
        jitter: strength of the change of colours.
        grey: share of the views that lose their colour.
        blur: share of the views that are blurred.
        flip: share of the views that are mirrored.

    Returns:
        (B, 3, R, R) in [0, 1].
    """
    view = jitter_colors(random_squares(pixels, size, smallest_crop, generator), jitter, generator)
    view = random_greys(view, grey, generator)
    view = random_blurs(view, blur, WIDEST_BLUR * size, generator)
    return random_flips(view, flip, generator)


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


def random_flips(pixels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Mirror about `share` of the pictures (B, 3, H, W), left to right."""
    return _some(pixels.flip(-1), pixels, share, generator)


def random_greys(pixels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Take the colour from about `share` of the pictures (B, 3, H, W): each channel becomes the luma of BT.601."""
    luma = torch.tensor([0.299, 0.587, 0.114]).to(pixels).view(3, 1, 1)
    return _some((pixels * luma).sum(dim=1, keepdim=True).expand_as(pixels), pixels, share, generator)


def random_blurs(pixels: Tensor, share: float, largest: float, generator: torch.Generator) -> Tensor:
    """Blur about `share` of the pictures (B, 3, H, W) by Gaussians of random width.

    Args:
        pixels: the pictures.
        share: of them that are blurred.
        largest: standard deviation of the widest Gaussian, pixels; the narrowest has a twentieth of it.
        generator: a CPU generator.
    """
    count, channels = pixels.shape[:2]
    sigma = largest * (0.05 + 0.95 * torch.rand(count, 1, generator=generator))
    radius = max(1, math.ceil(2 * largest))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0).to(pixels)
    blurred = F.pad(pixels, (radius,) * 4, mode="replicate").flatten(0, 1)[None]
    for shape in ((1, -1), (-1, 1)):
        blurred = F.conv2d(blurred, kernel.view(count * channels, 1, *shape), groups=count * channels)
    return _some(blurred[0].unflatten(0, (count, channels)), pixels, share, generator)


def _some(changed: Tensor, pixels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Some of the changed pictures, and the others as they were."""
    chosen = torch.rand(len(pixels), 1, 1, 1, generator=generator) < share
    return torch.where(chosen.to(pixels.device), changed, pixels)
