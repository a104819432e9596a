"""PointNets: what is told of each point by itself and by all, plainly, and by frames."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from representation.equivariant.frame_averaging.averaging import FrameAveraging
from representation.equivariant.frame_averaging.point_frames import Group, pca_frames

WIDTHS, HEAD = (32, 64, 64, 128, 256), (64, 64, 32)
PATCH_VECTORS = 42


class PointNet(nn.Module):
    """Scalars and vectors of each point, from what it is and from the largest of what all are; knows no symmetry.

    Args:
        inputs: numbers of a point.
        scalars: that are told of a point.
        vectors: number of vectors that are told.
        widths: of the layers of a point; the last one is that of the cloud.
        head: widths of the layers that see all of these together.
    """

    def __init__(
        self, inputs: int, scalars: int, vectors: int, widths: Sequence[int] = WIDTHS, head: Sequence[int] = HEAD
    ) -> None:
        super().__init__()
        self.scalars = scalars
        sizes = list(pairwise((inputs, *widths)))
        self.levels = nn.ModuleList(
            nn.Sequential(PointLinear(before, after), *([nn.ReLU()] if number < len(sizes) else []))
            for number, (before, after) in enumerate(sizes, start=1)
        )
        self.of_point, self.of_cloud = nn.Linear(sum(widths), head[0]), nn.Linear(widths[-1], head[0], bias=False)
        self.norm = nn.BatchNorm1d(head[0])
        layers: list[nn.Module] = []
        for before, after in pairwise(head):
            layers += [PointLinear(before, after), nn.ReLU()]
        self.head = nn.Sequential(*layers, nn.Linear(head[-1], scalars + 3 * vectors))

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Scalars (B, N, S) and vectors (B, N, V, 3) of points (B, N, inputs)."""
        levels = [points]
        for level in self.levels:
            levels.append(level(levels[-1]))
        # A linear layer of the cloud beside each point is the sum of one of the cloud and one of the point.
        cloud = self.of_cloud(levels[-1].amax(dim=1, keepdim=True))
        joined = self.of_point(torch.cat(levels[1:], dim=2)) + cloud
        told = self.head(self.norm(joined.flatten(0, 1)).relu().view_as(joined))
        return told[..., : self.scalars], told[..., self.scalars :].unflatten(2, (-1, 3))


class PointLinear(nn.Module):
    """A linear layer of points (B, N, C) with a batch norm over all of them, so over all frames as well."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs)

    def forward(self, points: Tensor) -> Tensor:
        """Points (B, N, C')."""
        return self.norm(self.linear(points).flatten(0, 1)).unflatten(0, points.shape[:2])


class FAPointNet(nn.Module):
    """Scalars, which no motion changes, and vectors, which turn with the cloud, of each point of a cloud.

    Args:
        scalars: of a point.
        vectors: of a point.
        local: whether the network sees, of each point, vectors that are made of its neighbours in their own frames.
        k: neighbours, the point among them, if so.
        group: "O" with reflections, "SO" without.
        widths: see `PointNet`.
        head: see `PointNet`.
    """

    def __init__(
        self,
        scalars: int,
        vectors: int,
        local: bool = False,
        k: int = 20,
        group: Group = "SO",
        widths: Sequence[int] = WIDTHS,
        head: Sequence[int] = HEAD,
    ) -> None:
        super().__init__()
        self.k, self.group, self.patches = k, group, None
        inputs = 3
        if local:
            inputs += 3 * PATCH_VECTORS
            hidden = 3 * PATCH_VECTORS // 2
            patch = nn.Sequential(nn.Linear(3 * k, hidden), nn.ReLU(), nn.Linear(hidden, 3 * PATCH_VECTORS))
            self.patches = FrameAveraging(PatchVectors(patch), group, "vectors")
        self.network = PointNet(inputs, scalars, vectors, widths, head)

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Scalars (B, N, S) and vectors (B, N, V, 3) of points (B, N, 3); N is at least k if it is local."""
        frames = pca_frames(points, group=self.group)
        seen = frames.to_local(points=points)
        if self.patches is not None:
            told = self.patches(patches_of(points, self.k).flatten(0, 1)).unflatten(0, points.shape[:2])
            seen = torch.cat([seen, frames.to_local(vectors=told).flatten(3)], dim=3)
        scalars, vectors = (one.unflatten(0, seen.shape[:2]) for one in self.network(seen.flatten(0, 1)))
        return scalars.mean(dim=1), frames.to_world(vectors=vectors).mean(dim=1)


class PatchVectors(nn.Module):
    """Vectors (B, V, 3) of patches (B, k, 3) by a network of their numbers in order."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, patches: Tensor) -> Tensor:
        """The vectors."""
        return self.network(patches.flatten(1)).unflatten(1, (-1, 3))


def patches_of(points: Tensor, k: int) -> Tensor:
    """The k nearest points of each point, itself first, of clouds (B, N, 3): (B, N, k, 3).

    Raises:
        ValueError: fewer points than that.
    """
    if points.shape[1] < k:
        raise ValueError(f"points: expected at least {k}, found {points.shape[1]}")
    nearest = torch.cdist(points, points).topk(k, largest=False).indices
    return points[torch.arange(len(points), device=points.device)[:, None, None], nearest]
