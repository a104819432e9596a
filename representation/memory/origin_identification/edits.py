"""What becomes of frames on their way through a data set: restyling, compression, crops, tints, blur.

Each edit takes square pictures (B, 3, S, S) in [0, 1] and a CPU generator, and gives pictures of the same size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from representation.data.augmentations import random_blurs, random_squares

Edit = Callable[[Tensor, torch.Generator], Tensor]
SMALLEST_CROP = 0.9  # of the side
QUALITIES = (15, 60)  # of JPEG
WIDEST_BLUR = 0.03  # of the side


def restyle(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mix the colours of each picture and bend its tones, as another material, light or camera would."""
    count = len(images)
    mix = torch.eye(3) + 0.35 * torch.randn(count, 3, 3, generator=generator)
    gamma = torch.empty(count, 1, 1, 1).uniform_(0.6, 1.6, generator=generator)
    mixed = torch.einsum("bij,bjhw->bihw", mix.to(images), images)
    low, high = mixed.amin(dim=(2, 3), keepdim=True), mixed.amax(dim=(2, 3), keepdim=True)
    return ((mixed - low) / (high - low).clamp(min=1e-3)).clamp(1e-4, 1) ** gamma.to(images)


def jpeg(images: Tensor, generator: torch.Generator) -> Tensor:
    """Compress and read again."""
    qualities = torch.randint(*QUALITIES, (len(images),), generator=generator)
    pixels = (255 * images).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    found = []
    for picture, quality in zip(pixels, qualities.tolist(), strict=True):
        _, content = cv2.imencode(".jpg", np.ascontiguousarray(picture), (cv2.IMWRITE_JPEG_QUALITY, quality))
        found.append(cv2.imdecode(content, cv2.IMREAD_COLOR))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).to(images) / 255


def crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Cut out a square of at least 0.9 of the side, and bring it to the old size."""
    return random_squares(images, images.shape[-1], SMALLEST_CROP, generator)


def tint(images: Tensor, generator: torch.Generator) -> Tensor:
    """Lay a colour over each picture."""
    color = torch.rand(len(images), 3, 1, 1, generator=generator).to(images)
    share = torch.empty(len(images), 1, 1, 1).uniform_(0.1, 0.4, generator=generator).to(images)
    return (1 - share) * images + share * color


def blur(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blur each picture."""
    return random_blurs(images, 1.0, WIDEST_BLUR * images.shape[-1], generator)


EDITS: dict[str, Edit] = {"restyle": restyle, "jpeg": jpeg, "crop": crop, "tint": tint, "blur": blur}


def edited(images: Tensor, generator: torch.Generator, kinds: Sequence[str] = tuple(EDITS)) -> Tensor:
    """One edit for each picture, drawn from some kinds.

    Raises:
        ValueError: an unknown kind.
    """
    unknown = sorted(set(kinds) - set(EDITS))
    if unknown or not kinds:
        raise ValueError(f"edits: expected some of {', '.join(EDITS)}, found {unknown or 'none'}")
    drawn, found = torch.randint(len(kinds), (len(images),), generator=generator), images.clone()
    for number, kind in enumerate(kinds):
        rows = drawn == number
        if rows.any():
            found[rows] = EDITS[kind](images[rows], generator)
    return found
