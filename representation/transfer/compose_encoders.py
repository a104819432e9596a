"""An encoder for frames of a new place, out of fine-tuned versions of one: coefficients of `atlas`, from few labels.

An encoder has no head of its own, so the loss is that of the nearest class mean: each frame of a batch is told by its
cosines to the means of the other frames' vectors of each class, the means being made anew at every step. That has no
weights which would have to be learned beside the coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.data.batches import split_frames
from representation.data.frames import Frames
from representation.interface import Encoder
from representation.registry import load_encoder
from representation.transfer.atlas import AnisotropicComposer, TaskVector, learn_composition
from representation.transfer.atlas.composer import Granularity

TEMPERATURE = 10.0
LABELLED_BATCHES = 8


class Encoding(nn.Module):
    """An encoder whose forward pass is `encode`."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, inputs: Tensor) -> Tensor:
        """Vectors (B, D)."""
        return self.encoder.encode(inputs)


@dataclass(frozen=True)
class EncoderComposition:
    """What became of encoders.

    Attributes:
        encoder: the base with the composed weights.
        composer: with the learned coefficients.
        losses: held-out losses, by "base", "tuned 0", ..., "composed".
    """

    encoder: Encoder
    composer: AnisotropicComposer
    losses: dict[str, float]


def class_mean_loss(vectors: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of cosines to class means (B, C), each frame left out of its own class's mean.

    Args:
        vectors: (B, D).
        labels: (B,).

    Raises:
        ValueError: fewer than two classes with two frames or more.
    """
    counts = labels.bincount()
    usable = (counts >= 2).nonzero()[:, 0]
    if len(usable) < 2:
        raise ValueError(f"labels: expected two classes of two frames or more, found counts {counts.tolist()}")
    rows = torch.isin(labels, usable)
    vectors, labels = F.normalize(vectors[rows], dim=1), torch.searchsorted(usable, labels[rows])
    own = F.one_hot(labels, len(usable)).to(vectors)
    sums = own.T @ vectors
    means = sums[None] - own[:, :, None] * vectors[:, None]
    return F.cross_entropy(TEMPERATURE * torch.einsum("bd,bcd->bc", vectors, F.normalize(means, dim=2)), labels)


def compose_encoders(
    base: Path,
    tuned: Sequence[Path],
    frames: Frames,
    label: str,
    granularity: Granularity = "block",
    partitions: int = 10,
    steps: int = 150,
    lr: float = 0.05,
    batch_size: int = 64,
    held_out: int = 2,
    seed: int = 0,
) -> EncoderComposition:
    """Learn coefficients of fine-tuned encoders on labelled frames.

    Args:
        base: directory of an encoder.
        tuned: directories of fine-tuned versions of it.
        frames: few of them.
        label: column of numbered values that is to be told.
        granularity: see `AnisotropicComposer`.
        partitions: likewise.
        steps: see `learn_composition`.
        lr: likewise.
        batch_size: frames of a batch.
        held_out: episodes on which the best moment is chosen.
        seed: of the batches and groups.

    Raises:
        FileNotFoundError: no encoder there.
        ValueError: encoders that differ in more than their weights, or frames without the label.
    """
    frames.need([label])
    if not np.issubdtype(frames.columns[label].dtype, np.integer) or frames.columns[label].ndim != 1:
        raise ValueError(f"label {label!r}: expected one whole number a frame, found {frames.columns[label].dtype}")
    module = Encoding(load_encoder(base))
    states = [Encoding(load_encoder(one)).state_dict() for one in tuned]
    vectors = [TaskVector.from_state_dicts(module.state_dict(), state) for state in states]
    composer = AnisotropicComposer(module, vectors, granularity, partitions, seed=seed)
    generator = np.random.default_rng(seed)
    train, test = split_frames(frames, held_out, generator)

    def labelled(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        return frames.pixels(rows), torch.from_numpy(frames.columns[label][rows].astype(np.int64))

    def loss(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return class_mean_loss(network(batch[0]), batch[1])

    size = min(batch_size, len(train))
    batches = [labelled(generator.choice(train, size, replace=False)) for _ in range(LABELLED_BATCHES)]
    measured = labelled(generator.permutation(test)[:256])

    @torch.no_grad()
    def held_out_loss(network: nn.Module) -> float:
        return float(loss(network, measured))

    losses = {"base": held_out_loss(module)}
    for number, state in enumerate(states):
        module.load_state_dict(state)
        losses[f"tuned {number}"] = held_out_loss(module)
    learn_composition(composer, loss, batches, lr, steps=steps, select=lambda one: -held_out_loss(one))
    losses["composed"] = held_out_loss(composer)
    module.load_state_dict(composer.merged_state_dict())
    return EncoderComposition(module.encoder, composer, losses)
