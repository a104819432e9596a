"""What networks tell of points of clouds: scalars that stay when a cloud is moved, and vectors that turn with it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class CloudFeatures(NamedTuple):
    """Features of some points of each cloud.

    Attributes:
        rows: (P,) numbers of the points.
        scalars: (B, P, S).
        vectors: (B, P, V, 3).
    """

    rows: Tensor
    scalars: Tensor
    vectors: Tensor


def thinned_rows(points: Tensor, count: int, fewest: int) -> Tensor:
    """Numbers of every so many-th point of clouds (B, N, 3), so that at most `count` are left.

    Raises:
        ValueError: no clouds, or of fewer than `fewest` points.
    """
    if points.ndim != 3 or points.shape[2] != 3 or points.shape[1] < fewest:
        raise ValueError(f"points: expected (B, {fewest} or more, 3), found {tuple(points.shape)}")
    left = min(count, points.shape[1])
    return torch.arange(left, device=points.device) * points.shape[1] // left
