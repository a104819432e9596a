"""The one preprocessing of pictures: random crops to train on, the central square to measure with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from representation.data.augmentations import random_flips, random_greys
from representation.data.frames import as_pixels
from representation.image_tower import centered

RATIO = (3 / 4, 4 / 3)
MEAN, STD = 0.4978, 0.2449


@dataclass(frozen=True)
class PictureTransform:
    """How pictures are brought to one form.

    Attributes:
        size: side of the result, pixels.
        smallest_area: of a random crop, as a share of the picture's.
        normalise: whether the mean .4978 is taken off and divided by .2449; encoders of this repository do their own.
    """

    size: int = 224
    smallest_area: float = 0.08
    normalise: bool = True

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 < self.smallest_area <= 1:
            raise ValueError(
                f"size, smallest_area: expected at least 1 and in (0, 1], found {self.size}, {self.smallest_area}"
            )

    def training(self, images: NDArray[np.uint8], mirrored: bool, grey: bool, generator: torch.Generator) -> Tensor:
        """Random crops (B, 3, size, size) of pictures (B, H, W, 3), half of them mirrored if that is allowed."""
        pixels = random_resized_crops(as_pixels(images), self.size, self.smallest_area, generator)
        return self._finished(random_flips(pixels, 0.5, generator) if mirrored else pixels, grey)

    def measuring(self, images: NDArray[np.uint8], grey: bool) -> Tensor:
        """Central squares (B, 3, size, size) of pictures (B, H, W, 3)."""
        return self._finished(centered(as_pixels(images), self.size), grey)

    def _finished(self, pixels: Tensor, grey: bool) -> Tensor:
        if grey:
            pixels = random_greys(pixels, 1.0, torch.Generator().manual_seed(0))
        return (pixels - MEAN) / STD if self.normalise else pixels


def random_resized_crops(pixels: Tensor, size: int, smallest_area: float, generator: torch.Generator) -> Tensor:
    """Bring a random rectangle of each picture to one square.

    Args:
        pixels: (B, C, H, W).
        size: side of the result, pixels.
        smallest_area: of a rectangle, as a share of the picture's; sides are as 3 to 4 up to 4 to 3. With 1 the whole
            picture is taken.
        generator: a CPU generator that draws area, shape and place.

    Returns:
        (B, C, size, size).
    """
    count = len(pixels)
    area = smallest_area + (1 - smallest_area) * torch.rand(count, generator=generator)
    low, high = (math.log(ratio) for ratio in RATIO)
    ratio = (low + (high - low) * torch.rand(count, generator=generator)).exp()
    place = 2 * torch.rand(count, 2, generator=generator) - 1
    if smallest_area == 1:
        ratio = torch.ones(count)
    half = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], dim=1).clamp(max=1)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = half.T
    theta[:, :, 2] = place * (1 - half)
    # What is much larger than the result is first made smaller, as samples of single pixels would leave gaps.
    if min(pixels.shape[-2:]) > 2 * size:
        pixels = F.interpolate(pixels, (2 * size, 2 * size), mode="bilinear", antialias=True, align_corners=False)
    grid = F.affine_grid(theta, [count, pixels.shape[1], size, size], align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
