"""`PointFrames`: the principal axes of clouds, with all choices of their signs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from torch import Tensor

Group = Literal["O", "SO"]
"""Rotations with reflections, or without; with `translate`, motions."""


@dataclass(frozen=True)
class PointFrames:
    """Frames of clouds: a set that turns with its cloud.

    Attributes:
        rotations: (B, K, d, d), axes in columns.
        center: (B, d).
        gap: (B,) smallest difference of two spreads (eigenvalues) as a share of the largest; near 0 the axes are not
            determined, and a small change of the cloud turns them.
    """

    rotations: Tensor
    center: Tensor
    gap: Tensor

    def to_local(self, *, points: Tensor | None = None, vectors: Tensor | None = None) -> Tensor:
        """Points or vectors (B, ..., d) as seen in each frame, (B, K, ..., d); vectors do not mind the center."""
        given = _one_of(points, vectors)
        flat = given.flatten(1, -2)
        if points is not None:
            flat = flat - self.center[:, None]
        return torch.einsum("bnd,bkde->bkne", flat, self.rotations).unflatten(2, given.shape[1:-1])

    def to_world(self, *, points: Tensor | None = None, vectors: Tensor | None = None) -> Tensor:
        """Points or vectors (B, K, ..., d), of each frame, turned back."""
        given = _one_of(points, vectors)
        flat = torch.einsum("bkne,bkde->bknd", given.flatten(2, -2), self.rotations)
        if points is not None:
            flat = flat + self.center[:, None, None]
        return flat.unflatten(2, given.shape[2:-1])

    def sampled(self, count: int, generator: torch.Generator | None = None) -> PointFrames:
        """`count` frames of each cloud, drawn at random, none twice.

        Raises:
            ValueError: more than there are.
        """
        batch, frames = self.rotations.shape[:2]
        if not 0 < count <= frames:
            raise ValueError(f"sample: expected 1 to {frames} frames, found {count}")
        drawn = torch.rand(batch, frames, generator=generator).argsort(dim=1)[:, :count].to(self.rotations.device)
        return PointFrames(self.rotations[torch.arange(batch)[:, None], drawn], self.center, self.gap)


@torch.no_grad()
def pca_frames(
    points: Tensor, weights: Tensor | None = None, group: Group = "O", translate: bool = True
) -> PointFrames:
    """Frames by the principal axes of clouds: 2^d of them, or the half that are rotations; without gradient.

    Args:
        points: (B, N, d).
        weights: (B, N) of the points, not negative; all alike if None.
        group: "O" with reflections, "SO" without.
        translate: whether centers are taken away; otherwise they are 0.

    Raises:
        ValueError: another shape, group, or numbers that are not finite.
    """
    if points.ndim != 3 or not points.shape[1]:
        raise ValueError(f"points: expected (B, N, d), found {tuple(points.shape)}")
    if group not in ("O", "SO"):
        raise ValueError(f"group: expected O or SO, found {group!r}")
    if not torch.isfinite(points).all():
        raise ValueError("points: expected finite numbers, found others")
    exact = points.double()
    share = torch.ones_like(exact[..., 0]) if weights is None else weights.double()
    if share.shape != points.shape[:2] or (share < 0).any() or not (share.sum(dim=1) > 0).all():
        raise ValueError(f"weights: expected {tuple(points.shape[:2])}, not negative, found {tuple(share.shape)}")
    share = share / share.sum(dim=1, keepdim=True)
    center = (share[..., None] * exact).sum(dim=1)
    if not translate:
        center = torch.zeros_like(center)
    way = exact - center[:, None]
    spreads, axes = torch.linalg.eigh(torch.einsum("bn,bni,bnj->bij", share, way, way))
    gap = spreads.diff(dim=1).amin(dim=1) / spreads[:, -1].clamp(min=1e-300) if points.shape[2] > 1 else spreads[:, 0]
    signs = exact.new_tensor(list(product((1.0, -1.0), repeat=points.shape[2])))
    if group == "SO":
        axes[..., -1] *= torch.linalg.det(axes).sign()[:, None]
        signs = signs[signs.prod(dim=1) > 0]
    rotations = axes[:, None] * signs[:, None, :]
    return PointFrames(rotations.to(points.dtype), center.to(points.dtype), gap)


def _one_of(points: Tensor | None, vectors: Tensor | None) -> Tensor:
    given = [one for one in (points, vectors) if one is not None]
    if len(given) != 1:
        raise ValueError(f"points, vectors: expected one of them, found {len(given)}")
    return given[0]
