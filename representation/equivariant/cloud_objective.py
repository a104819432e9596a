"""`CloudObjective`: an encoder of clouds learns to tell what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from representation.data.frames import LABEL, POINTS, Frames
from representation.equivariant.cloud_targets import (
    APPROACH,
    NORMALS,
    POSE,
    CloudHeads,
    losses,
    random_turns,
    targets_of,
    turned,
)
from representation.interface import Loss


class CloudObjective(nn.Module):
    """An `Objective`: tells labels, normals, approach and pose, as far as the frames have them.

    Args:
        encoder: a `CloudEncoder`.
        frames: which it is to learn from.
        turn: whether clouds are turned at random in training.

    Raises:
        ValueError: the frames have no clouds, or nothing that could be told of them.
    """

    needs = (POINTS,)

    def __init__(self, encoder: Any, frames: Frames, turn: bool) -> None:
        super().__init__()
        frames.need(self.needs)
        told = tuple(name for name in (NORMALS, APPROACH, POSE) if name in frames.columns)
        classes = int(frames.columns[LABEL].max()) + 1 if LABEL in frames.columns else 0
        if not told and not classes:
            found = sorted(frames.columns)
            raise ValueError(f"frames: expected one of {[LABEL, NORMALS, APPROACH, POSE]}, found {found}")
        self.encoder, self._turn = encoder, turn
        self.heads = CloudHeads(encoder.width, encoder.vectors, classes, told)

    def batch(self, frames: Frames, rows: NDArray[np.int64], generator: torch.Generator) -> dict[str, Tensor]:
        """Clouds and what is known of them, turned at random if that is wanted."""
        targets = targets_of(frames, rows)
        return turned(targets, random_turns(len(rows), generator)) if self._turn else targets

    def tell(self, points: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """What is told of clouds (B, N, 3), see `CloudHeads`, and the numbers of the points that normals are of."""
        features = self.encoder.features(points)
        return self.heads(points, features), features.rows

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """The sum of the losses of all targets."""
        told, rows = self.tell(batch[POINTS])
        parts = losses(told, batch, rows)
        return Loss(torch.stack(list(parts.values())).sum(), {name: value.detach() for name, value in parts.items()})
