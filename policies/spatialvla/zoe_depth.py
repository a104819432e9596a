"""Depth from the image alone, by ZoeDepth (arXiv 2302.12288), for checkpoints that were trained without a depth camera.

Built only where the configuration asks for it (`use_vision_zoe`); always frozen. Padding, sizes and interpolation are
the released policy's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BeitConfig, ZoeDepthConfig, ZoeDepthForDepthEstimation

DEPTH_SIZE = 384  # px, side of the depth network's image


def build_zoe(fields: Mapping[str, Any]) -> ZoeDepthForDepthEstimation:
    """Build the network from the fields of `vision_zoe_config`, frozen and in evaluation mode."""
    values = {name: value for name, value in fields.items() if name != "model_type"}
    backbone = {name: value for name, value in values.pop("backbone_config").items() if name != "model_type"}
    config = ZoeDepthConfig(backbone_config=BeitConfig(**backbone), **values)
    return ZoeDepthForDepthEstimation(config).eval().requires_grad_(False)


@torch.no_grad()
def estimate_depth(zoe: ZoeDepthForDepthEstimation, pixel_values: Tensor) -> Tensor:
    """Depth (B, S, S) in metres of images (B, 3, S, S) in [0, 1].

    Each image runs alone: the network chooses between its indoor and outdoor heads by a vote over the whole batch, so
    that in a batch the depth of one image would depend on the others.
    """
    return torch.cat([_estimate_one(zoe, image[None]) for image in pixel_values])


def _estimate_one(zoe: ZoeDepthForDepthEstimation, image: Tensor) -> Tensor:
    side = image.shape[-1]
    pad = int((side / 2) ** 0.5 * 3)
    padded = nn.functional.pad(image, (pad, pad, pad, pad), mode="reflect")
    resized = nn.functional.interpolate(padded, (DEPTH_SIZE, DEPTH_SIZE), mode="bicubic", align_corners=True)
    depth = zoe(pixel_values=(resized - 0.5) / 0.5).predicted_depth
    whole = side + 2 * pad
    restored = nn.functional.interpolate(depth[:, None], (whole, whole), mode="bicubic", align_corners=True)
    return restored[:, 0, pad:-pad, pad:-pad]


def depth_scale(estimated: Tensor, measured: Tensor) -> float:
    """Factor that brings measured depth to the scale of estimated depth: the median ratio of their valid pixels.

    Args:
        estimated: (B, S, S) metres, from `estimate_depth`.
        measured: (B, S, S) metres of a depth camera, not finite or <= 0 where unknown.

    Raises:
        ValueError: no valid pixel.
    """
    valid = torch.isfinite(measured) & (measured > 0) & (estimated > 0)
    if not bool(valid.any()):
        raise ValueError("depth: expected at least one valid pixel to align with, found none")
    return float((estimated[valid] / measured[valid]).median())
