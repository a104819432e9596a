"""What the systems of `representation/` have in common: small protocols; each system keeps those that are true of it.

Pictures are (B, 3, H, W) float in [0, 1], of any size; an encoder brings them to its own. Clips are (B, T, 3, H, W),
frames in the order of time, spread evenly over what is to be understood. Points are (B, N, 3), metres. Documents are
values of JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from representation.data.frames import Frames

Modality = Literal["image", "points", "text", "clip", "json", "several"]
"""An encoder of "several" is a `SeveralEncoder`."""


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
class SeveralEncoder(Encoder, Protocol):
    """An encoder of several modalities: `encode` takes inputs by their names.

    Attributes:
        modalities: their names.
    """

    modalities: tuple[Modality, ...]


@runtime_checkable
class DocumentEncoder(Protocol):
    """Turns documents into vectors; is not trained.

    Attributes:
        modality: "json".
        width: numbers D of a vector.
    """

    modality: Modality
    width: int

    def encode_batch(self, documents: Sequence[Any]) -> NDArray[np.float32]:
        """Vectors (N, D) of N documents."""
        ...

    def save(self, directory: Path) -> None:
        """Write what `registry.load_encoder` reads."""
        ...


@runtime_checkable
class TextEncoder(Protocol):
    """Puts texts into the space of its other vectors, so that one finds the other."""

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Vectors (T, D) of texts."""
        ...


@runtime_checkable
class TextImageScorer(Protocol):
    """Tells how well phrases fit to pictures."""

    def scores(self, images: Tensor, phrases: Sequence[str]) -> Tensor:
        """Probabilities (B, P) of P phrases, which sum to 1, for pictures (B, 3, H, W)."""
        ...


@runtime_checkable
class DenseEncoder(Protocol):
    """Tells what is where in pictures; a teacher of encoders of other things."""

    def dense(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What is in each of h x w parts of pictures (B, 3, H, W), and how much it matters to the whole.

        Returns:
            Features (B, C, h, w), and saliency (B, h, w), not negative.
        """
        ...


@runtime_checkable
class ThingFinder(Protocol):
    """Tells where in pictures each of some kinds of things is."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the K kinds."""
        ...

    def find(self, images: Tensor) -> Tensor:
        """Some numbers of the place of each of K kinds, (B, K, F), for pictures (B, 3, H, W)."""
        ...


@dataclass(frozen=True)
class Progress:
    """Where an episode stands in a script.

    Attributes:
        done: steps that are over, in the order in which they happened.
        current: the last step that has begun.
        next: the one that should follow; None at the end of the script.
        in_order: whether they happened in the order of the script.
        confidence: in [0, 1].
    """

    done: tuple[str, ...]
    current: str
    next: str | None
    in_order: bool
    confidence: float


@runtime_checkable
class ProgressTracker(Protocol):
    """Tells which of the steps of a script an episode has come to."""

    def progress(self, clip: Tensor, steps: Sequence[str], least: float = 0.5) -> Progress | None:
        """Progress of an episode, of which a clip (T, 3, H, W) was seen; None if the confidence is below `least`."""
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
