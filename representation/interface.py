"""What the systems of `representation/` have in common: small protocols; each system keeps those that are true of it.

Pictures are (B, 3, H, W) float in [0, 1], of any size; an encoder brings them to its own. Points are (B, N, 3), metres.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from representation.data.frames import Frames

Modality = Literal["image", "points", "text", "clip"]


class Loss(NamedTuple):
    """What an objective makes of a batch.

    Attributes:
        total: scalar that is minimised.
        parts: scalars that are reported, by name.
    """

    total: Tensor
    parts: dict[str, Tensor]


@runtime_checkable
class Encoder(Protocol):
    """Turns observations into vectors; an `nn.Module`, so that it can be trained on.

    Attributes:
        modality: what it takes.
        width: numbers D of a vector.
    """

    modality: Modality
    width: int

    def encode(self, inputs: Tensor) -> Tensor:
        """Vectors (B, D) of inputs of the modality; differentiable."""
        ...

    def save(self, directory: Path) -> None:
        """Write what `registry.load_encoder` reads."""
        ...


@runtime_checkable
class TextImageScorer(Protocol):
    """Tells how well phrases fit to pictures."""

    def scores(self, images: Tensor, phrases: Sequence[str]) -> Tensor:
        """Probabilities (B, P) of P phrases, which sum to 1, for pictures (B, 3, H, W)."""
        ...


class Objective(Protocol):
    """A pretraining loss: an `nn.Module` whose forward pass takes a batch.

    Attributes:
        encoder: what is trained; a part of the module.
        needs: columns that the frames must have, "texts" among them.
    """

    encoder: Encoder
    needs: Sequence[str]

    def batch(self, frames: Frames, rows: NDArray[np.int64], generator: torch.Generator) -> dict[str, Tensor]:
        """The batch of some frames; all that is random comes from a CPU generator."""
        ...

    def __call__(self, batch: Mapping[str, Tensor]) -> Loss:
        """The loss of a batch."""
        ...


@dataclass(frozen=True)
class ProbeResult:
    """How much of something a representation tells.

    Attributes:
        name: of what is told, and how it is read.
        score: accuracy, or R squared, on held-out frames.
        low: lower end of the 95 % interval over them.
        high: upper end.
    """

    name: str
    score: float
    low: float
    high: float
