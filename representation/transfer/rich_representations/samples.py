"""`Samples`: inputs of encoders with their classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

Inputs: TypeAlias = Tensor | Mapping[str, Tensor]
"""Inputs (N, ...) of one modality, or those of several by the modality's name."""


@dataclass(frozen=True)
class Samples:
    """N inputs and their classes.

    Attributes:
        inputs: (N, ...), or such of several modalities by name.
        labels: (N,) classes from 0.
    """

    inputs: Inputs
    labels: Tensor

    def __post_init__(self) -> None:
        if self.labels.ndim != 1 or self.labels.dtype != torch.int64:
            raise ValueError(f"labels: expected (N,) int64, found {tuple(self.labels.shape)} {self.labels.dtype}")
        if self.labels.numel() and int(self.labels.min()) < 0:
            raise ValueError(f"labels: expected classes from 0, found {int(self.labels.min())}")
        parts = self.inputs if isinstance(self.inputs, Mapping) else {"inputs": self.inputs}
        for name, part in parts.items():
            if len(part) != len(self.labels):
                raise ValueError(f"{name}: expected {len(self.labels)} rows as there are labels, found {len(part)}")
            if not torch.isfinite(part).all():
                raise ValueError(f"{name}: expected finite numbers, found others")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        """Number C of classes.

        Raises:
            ValueError: there is one only.
        """
        if len(self.labels.unique()) < 2:
            raise ValueError(f"labels: expected at least two classes, found {self.labels.unique().tolist()}")
        return int(self.labels.max()) + 1

    def subset(self, rows: Tensor) -> Samples:
        """Some of them."""
        return Samples(rows_of(self.inputs, rows), self.labels[rows])


def rows_of(inputs: Inputs, rows: Tensor | slice) -> Inputs:
    """Some rows of inputs."""
    if isinstance(inputs, Mapping):
        return {name: part[rows] for name, part in inputs.items()}
    return inputs[rows]


def split_by_class(labels: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows of the larger and of the smaller part, `share` of each class but at least one sample and never all.

    Raises:
        ValueError: a class has one sample only.
    """
    kept, held = [], []
    for label in labels.unique():
        rows = torch.nonzero(labels == label)[:, 0]
        if len(rows) < 2:
            raise ValueError(f"labels: expected at least two samples of class {int(label)} to hold one out, found one")
        rows = rows[torch.randperm(len(rows), generator=generator)]
        count = min(max(1, round(share * len(rows))), len(rows) - 1)
        held.append(rows[:count])
        kept.append(rows[count:])
    return torch.cat(kept), torch.cat(held)
