"""Which points tell which: edges (2, E) from senders, in the first row, to receivers, in the second."""

from __future__ import annotations

import torch
from torch import Tensor

from representation.data.clouds import farthest_point_sample


def complete_graph(batch: Tensor) -> Tensor:
    """Edges between all points of the same cloud, to themselves too.

    Args:
        batch: (N,) number of the cloud of each point.
    """
    return (batch[:, None] == batch[None, :]).nonzero().T


def radius_graph(pos: Tensor, radius: float, batch: Tensor) -> Tensor:
    """Edges between points (N, n) of the same cloud that are nearer than `radius`, to themselves too."""
    return ((torch.cdist(pos, pos) < radius) & (batch[:, None] == batch[None, :])).nonzero().T


def with_self_loops(edges: Tensor, count: int) -> Tensor:
    """Edges between `count` points, each of them also to itself, once."""
    every = torch.arange(count, device=edges.device).expand(2, count)
    return torch.cat([edges[:, edges[0] != edges[1]], every], dim=1)


def cloud_graph(points: Tensor, neighbours: int, anchors: int = 0) -> Tensor:
    """Edges of clouds (B, P, n) from the nearest points and from some that are spread over the cloud.

    Points are numbered over the whole batch. The edges are those of the moved cloud too.

    Args:
        points: the clouds.
        neighbours: nearest points, besides itself, that each point is told by.
        anchors: points, each the farthest from those before it, that all points of the cloud are told by.

    Raises:
        ValueError: fewer points than that.
    """
    batch, count = points.shape[:2]
    if not 0 < neighbours < count or not 0 <= anchors <= count:
        raise ValueError(f"neighbours, anchors: expected fewer than {count} points, found {neighbours} and {anchors}")
    is_edge = torch.zeros(batch, count, count, dtype=torch.bool, device=points.device)
    nearest = torch.cdist(points, points).topk(neighbours + 1, largest=False).indices
    is_edge.scatter_(2, nearest, True)
    if anchors:
        spread = farthest_point_sample(points, anchors)
        is_edge.scatter_(2, spread[:, None].expand(-1, count, -1), True)
    cloud, receiver, sender = is_edge.nonzero().unbind(1)
    return torch.stack([cloud * count + sender, cloud * count + receiver])
