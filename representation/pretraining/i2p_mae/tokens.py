"""Places of tokens: farthest points with their neighbours at three levels, and which of them stay visible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from representation.data.clouds import farthest_point_sample


class Level(NamedTuple):
    """Tokens of one level.

    Attributes:
        centers: (B, G, 3).
        ids: (B, G, k) of the neighbours in the level below.
        offsets: (B, G, k, 3) of the neighbours from the centre.
    """

    centers: Tensor
    ids: Tensor
    offsets: Tensor


def gather(values: Tensor, ids: Tensor) -> Tensor:
    """Rows (B, ..., C) of values (B, N, C) by indices (B, ...)."""
    flat = ids.flatten(1)[..., None].expand(-1, -1, values.shape[2])
    return values.gather(1, flat).unflatten(1, ids.shape[1:])


def nearest(reference: Tensor, query: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Squared distances and indices (B, M, count), nearest first, in points (B, N, 3) of each of (B, M, 3)."""
    # Differences, not the expanded square: near points must not drown in rounding.
    distance = sum((query[:, :, None, axis] - reference[:, None, :, axis]).square() for axis in range(3))
    return distance.topk(count, dim=2, largest=False)


def group(points: Tensor, count: int, neighbours: int) -> Level:
    """Farthest points of (B, N, 3) as centres, with their nearest neighbours."""
    centers = gather(points, farthest_point_sample(points, count))
    ids = nearest(points, centers, neighbours)[1]
    return Level(centers, ids, gather(points, ids) - centers[:, :, None])


def chamfer_l2(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared distance (B,) to the nearest point of the other set, both ways added; sets (B, N, 3), (B, M, 3)."""
    distance = (a[:, :, None] - b[:, None]).square().sum(dim=3)
    return distance.amin(dim=2).mean(dim=1) + distance.amin(dim=1).mean(dim=1)


def guided_mask(saliency: Tensor, ratio: float, noise: Tensor, temperature: float = 1.0) -> Tensor:
    """Which tokens stay visible, (B, G) bool: drawn one after the other by the softmax of their saliency.

    Args:
        saliency: (B, G), not negative; its mean is brought to 1.
        ratio: int(ratio * G) are hidden.
        noise: (B, G) uniform in [0, 1). The largest sums of logarithms of chances and Gumbel noise are such a draw.
        temperature: divides the saliency.
    """
    relative = saliency / saliency.mean(dim=1, keepdim=True).clamp(min=1e-12)
    gumbel = -(-noise.clamp(1e-7, 1 - 1e-7).log()).log()
    visible = saliency.shape[1] - int(ratio * saliency.shape[1])
    order = (relative / temperature + gumbel).topk(visible, dim=1).indices
    return torch.zeros_like(saliency, dtype=torch.bool).scatter(1, order, True)


def propagate_mask(visible: Tensor, levels: Sequence[Level]) -> list[Tensor]:
    """Visible tokens (B, G) of every level, first level first: those that a visible token of the next is made of."""
    result = [visible]
    for level, below in zip(levels[:0:-1], levels[-2::-1], strict=True):
        counts = torch.zeros(below.centers.shape[:2], dtype=torch.int, device=visible.device)
        seen = result[0][:, :, None].expand(level.ids.shape).flatten(1).int()
        result.insert(0, counts.scatter_add(1, level.ids.flatten(1), seen) > 0)
    return result


def packed(visible: Tensor) -> tuple[Tensor, Tensor]:
    """Indices (B, n) of the visible tokens of (B, G), in their order and then padded, and which are no padding."""
    counts = visible.sum(dim=1, keepdim=True)
    longest = int(counts.max())
    order = torch.argsort((~visible).int(), dim=1, stable=True)[:, :longest]
    return order, torch.arange(longest, device=visible.device)[None] < counts
