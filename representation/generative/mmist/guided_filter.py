"""Guided filter: a picture whose edges are those of another.

Source: Guided Image Filtering, He, Sun and Tang, ECCV 2010, with a guide of three colours.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def guided_filter(guide: Tensor, image: Tensor, radius: int, epsilon: float = 1e-3) -> Tensor:
    """What is, around every pixel, the nearest affine map of the guide's colours to the picture's.

    Args:
        guide: (B, 3, H, W).
        image: (B, C, H, W).
        radius: of the squares around a pixel, pixels; smaller than the pictures.
        epsilon: variance of the guide below which it says nothing.

    Returns:
        (B, C, H, W).
    """
    if guide.shape[1] != 3 or guide.shape[-2:] != image.shape[-2:] or not 0 < radius < min(guide.shape[-2:]):
        raise ValueError(
            f"guide, image, radius: expected (B, 3, H, W), (B, C, H, W) and less than H and W, found "
            f"{tuple(guide.shape)}, {tuple(image.shape)}, {radius}"
        )

    def mean(x: Tensor) -> Tensor:
        size = 2 * radius + 1
        padded = F.pad(x, (radius,) * 4, mode="reflect")
        return F.avg_pool2d(F.avg_pool2d(padded, (size, 1), 1), (1, size), 1)

    guide_mean, image_mean = mean(guide), mean(image)
    products = guide[:, :, None] * torch.cat([guide, image], dim=1)[:, None]
    both = mean(products.flatten(1, 2)).unflatten(1, (3, -1))
    both = both - guide_mean[:, :, None] * torch.cat([guide_mean, image_mean], dim=1)[:, None]
    covariance, cross = (part.permute(0, 3, 4, 1, 2) for part in (both[:, :, :3], both[:, :, 3:]))
    slope = torch.linalg.solve(covariance + epsilon * torch.eye(3, dtype=guide.dtype, device=guide.device), cross)
    slope = slope.permute(0, 4, 3, 1, 2)  # (B, C, 3, H, W)
    offset = image_mean - (slope * guide_mean[:, None]).sum(dim=2)
    slope_mean = mean(slope.flatten(1, 2)).unflatten(1, (-1, 3))
    return (slope_mean * guide[:, None]).sum(dim=2) + mean(offset)
