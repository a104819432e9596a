"""`FAGNN`: where bodies will be, by message passing whose every layer sees its features in frames."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from representation.equivariant.frame_averaging.averaging import DeepFrameAveraging
from representation.equivariant.frame_averaging.point_frames import Group


class MessagePassing(nn.Module):
    """Every body is told by all others, with what is known of each pair; all features are numbers.

    Args:
        width: features H of a body.
        pairs: numbers known of a pair.
    """

    def __init__(self, width: int, pairs: int) -> None:
        super().__init__()
        self.message = _perceptron(2 * width + pairs, width, width)
        self.message.append(nn.SiLU())
        self.update = _perceptron(2 * width, width, width)

    def forward(self, features: Tensor, pairs: Tensor) -> Tensor:
        """Features (B, N, H) of bodies, after messages.

        Args:
            features: (B, N, H).
            pairs: (B, N, N, pairs), of a receiver and a sender.
        """
        count = features.shape[1]
        receiver = features[:, :, None].expand(-1, -1, count, -1)
        told = self.message(torch.cat([receiver, receiver.transpose(1, 2), pairs], dim=3))
        others = 1 - torch.eye(count, dtype=features.dtype, device=features.device)
        told = (told * others[..., None]).sum(dim=2)
        return features + self.update(torch.cat([features, told], dim=2))


class MotionLayers(nn.Module):
    """Linear, message passing, or a decoder, one after the other, of features and pairs."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, features: Tensor, pairs: Tensor) -> Tensor:
        """Features (B, N, C') of features (B, N, C) and pairs (B, N, N, 2)."""
        for part in self.parts:
            features = part(features, pairs) if isinstance(part, MessagePassing) else part(features)
        return features


def motion_layers(width: int, depth: int) -> list[MotionLayers]:
    """Layers from place and velocity (6 numbers) by `depth` rounds of messages to a place (3 numbers).

    Raises:
        ValueError: a width that is no multiple of 3, or no layers.
    """
    if width % 3 or width < 3 or depth < 1:
        raise ValueError(f"width, depth: expected a multiple of 3 and at least 1, found {width} and {depth}")
    rounds: list[list[nn.Module]] = [[MessagePassing(width, 2)] for _ in range(depth)]
    rounds[0].insert(0, nn.Linear(6, width))
    rounds[-1].append(_perceptron(width, width, 3))
    return [MotionLayers(*parts) for parts in rounds]


def pairs_of(points: Tensor, charges: Tensor) -> Tensor:
    """Products of charges (B, N, 1) and squared distances of points (B, N, 3): (B, N, N, 2)."""
    way = points[:, :, None] - points[:, None]
    return torch.stack([charges @ charges.transpose(1, 2), way.square().sum(dim=3)], dim=3)


class FAGNN(nn.Module):
    """Places of charged bodies at a later time, which move as the bodies are moved.

    Args:
        width: features; a multiple of 3; 60 in the paper.
        depth: rounds of messages; 4 in the paper.
        group: "O" with reflections, "SO" without.
    """

    def __init__(self, width: int = 60, depth: int = 4, group: Group = "O") -> None:
        super().__init__()
        self.averaging = DeepFrameAveraging(motion_layers(width, depth), group)

    def forward(self, pos: Tensor, vel: Tensor, charge: Tensor) -> Tensor:
        """Places (B, N, 3) of bodies at places (B, N, 3) with velocities (B, N, 3) and charges (B, N, 1)."""
        return self.averaging(pos, vel[:, :, None], [pairs_of(pos, charge)])[:, :, 0]

    def of_graph(self, graph: Any) -> Tensor:
        """Places (N, 3) of all bodies of an object such as torch_geometric's, in its order; edges are not looked at.

        Args:
            graph: `pos` (N, 3), `vel` (N, 3), `charge` (N,) or (N, 1) and, if there are several clouds, `batch` (N,),
                in which those of one cloud stand together.

        Raises:
            ValueError: clouds of several sizes, or mixed ones.
        """
        batch = getattr(graph, "batch", None)
        batch = torch.zeros(len(graph.pos), dtype=torch.long) if batch is None else batch
        counts = torch.unique_consecutive(batch, return_counts=True)[1]
        if len(counts) != len(batch.unique()) or len(counts.unique()) != 1:
            raise ValueError(f"batch: expected clouds of one size, one after the other, found {counts.tolist()} bodies")
        told = self(*(part.reshape(len(counts), int(counts[0]), -1) for part in (graph.pos, graph.vel, graph.charge)))
        return told.flatten(0, 1)


def _perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs))
