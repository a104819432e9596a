"""Crop and resize colour, depth and intrinsics together, so that back-projected points do not change."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

ImageFit = Literal["crop", "squash"]
Box = tuple[int, int, int, int]


def fit_box(height: int, width: int, fit: ImageFit) -> Box:
    """Box (top, left, height, width) of an image that becomes the square model image."""
    if fit == "squash":
        return 0, 0, height, width
    if fit == "crop":
        side = min(height, width)
        return (height - side) // 2, (width - side) // 2, side, side
    raise ValueError(f"fit: expected 'crop' or 'squash', found {fit!r}")


def resize_rgb(rgb: Tensor, box: Box, size: int) -> Tensor:
    """Crop (B, H, W, 3) uint8 images to a box and resize them, bicubic with antialias, to (B, 3, size, size) uint8."""
    top, left, height, width = box
    cropped = rgb[:, top : top + height, left : left + width].permute(0, 3, 1, 2)
    if (height, width) == (size, size):
        return cropped
    return nn.functional.interpolate(cropped, (size, size), mode="bicubic", antialias=True)


def resize_depth(depth: Tensor, box: Box, size: int) -> Tensor:
    """Crop (B, H, W) depth in metres to a box and resize it to (B, size, size).

    Each pixel is the mean of the valid (finite, positive) pixels that it covers, and NaN where there are none.
    """
    top, left, height, width = box
    cropped = depth[:, top : top + height, left : left + width].float()
    if (height, width) == (size, size):
        return cropped
    valid = torch.isfinite(cropped) & (cropped > 0)
    both = torch.stack([torch.where(valid, cropped, 0.0), valid.float()], 1)
    total, share = nn.functional.adaptive_avg_pool2d(both, size).unbind(1)
    return torch.where(share > 0, total / share.clamp_min(1e-12), torch.nan)


def resize_intrinsics(intrinsics: Tensor, box: Box, size: int) -> Tensor:
    """Intrinsics (B, 3, 3), pixels, of the image after the same crop and resize.

    Pixel centres lie at half integers, so a resize multiplies coordinates and has no other term.
    """
    top, left, height, width = box
    shifted = intrinsics.clone()
    shifted[..., 0, 2] -= left
    shifted[..., 1, 2] -= top
    scale = torch.tensor([size / width, size / height, 1.0], dtype=intrinsics.dtype)
    return shifted * scale[:, None]
