"""What encoders of clouds that respect motions give beside a vector: scalars and vectors at points."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from representation.interface import Modality


class CloudFeatures(NamedTuple):
    """Features of some points of each cloud.

    Attributes:
        rows: (P,) numbers of the points.
        scalars: (B, P, S), the same when a cloud is moved.
        vectors: (B, P, V, 3), which turn with the cloud.
    """

    rows: Tensor
    scalars: Tensor
    vectors: Tensor


@runtime_checkable
class CloudEncoder(Protocol):
    """An `Encoder` of clouds that also tells of points; an `nn.Module`.

    Attributes:
        modality: "points".
        width: numbers S of scalars at a point, and D of the vector of a cloud.
        vectors: number V of vectors at a point.
    """

    modality: Modality
    width: int
    vectors: int

    def features(self, points: Tensor) -> CloudFeatures:
        """Features of clouds (B, N, 3)."""
        ...


def thinned_rows(points: Tensor, count: int, fewest: int) -> Tensor:
    """Numbers of every so many-th point of clouds (B, N, 3), so that at most `count` are left.

    Raises:
        ValueError: no clouds, or of fewer than `fewest` points.
    """
    if points.ndim != 3 or points.shape[2] != 3 or points.shape[1] < fewest:
        raise ValueError(f"points: expected (B, {fewest} or more, 3), found {tuple(points.shape)}")
    left = min(count, points.shape[1])
    return torch.arange(left, device=points.device) * points.shape[1] // left
