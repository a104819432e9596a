"""The truth that scores of encoders foretell: accuracy after a short fine-tuning of the encoder and a linear head.

As in the paper of PED (arXiv 2308.15074), with fewer steps: SGD with Nesterov momentum, a cosine, and the best of some
learning rates, chosen on a fifth of the training episodes. The head sees vectors that were standardised by how they
were before the fine-tuning, so that one rate serves encoders of any scale.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.data.batches import BatchOrder, split_frames
from representation.data.frames import Frames
from representation.embedding import embed, inputs_of
from representation.interface import Encoder

VALIDATED = 0.2  # of the training episodes
MOMENTUM, CLIP_NORM, LEAST_STD = 0.9, 1.0, 1e-6


@dataclass(frozen=True)
class FineTuning:
    """How encoders are fine-tuned.

    Attributes:
        steps: of the optimizer, for each rate.
        batch_size: frames of a step.
        rates: learning rates that are tried.
    """

    steps: int = 200
    batch_size: int = 32
    rates: tuple[float, ...] = (0.003, 0.03)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1 or not self.rates or min(self.rates) <= 0:
            raise ValueError(f"steps, batch_size, rates: expected at least 1, and some rates above 0, found {self}")


@dataclass(frozen=True)
class Truth:
    """What an encoder reached.

    Attributes:
        accuracy: on the test rows.
        error: its standard error over the test episodes.
        rate: that was chosen.
        seconds: that all rates took.
    """

    accuracy: float
    error: float
    rate: float
    seconds: float


class Classifier(nn.Module):
    """An encoder under a linear head on standardised vectors.

    Args:
        encoder: copied; what has no parameters stays as it is.
        vectors: (N, D) of the training frames, before.
        classes: C.
    """

    def __init__(self, encoder: Encoder, vectors: NDArray, classes: int) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder)
        if isinstance(self.encoder, nn.Module):
            self.encoder.requires_grad_(True)
        self.register_buffer("mean", torch.from_numpy(vectors.mean(axis=0)))
        self.register_buffer("std", torch.from_numpy(vectors.std(axis=0)).clamp(min=LEAST_STD))
        self.head = nn.Linear(vectors.shape[1], classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (B, C)."""
        return self.head((self.encoder.encode(inputs) - self.mean) / self.std)


def fine_tune(
    encoder: Encoder,
    frames: Frames,
    labels: NDArray[np.int64],
    rows: tuple[NDArray[np.int64], NDArray[np.int64]],
    options: FineTuning,
    seed: int,
) -> Truth:
    """Fine-tune a copy of an encoder for a task.

    Args:
        encoder: of pictures, clips or points; in evaluation mode, and stays so.
        frames: which hold what it takes.
        labels: classes (N,) of the frames, from 0.
        rows: to train on and to test with.
        options: how.
        seed: of the batches and of what the rate is chosen on.

    Raises:
        ValueError: fewer training frames than a batch; or the encoder takes something else.
    """
    began = time.perf_counter()
    training, test = rows
    part = frames.subset(training)
    count = max(1, round(VALIDATED * len(np.unique(part.episode))))
    fitted, checked = (training[one] for one in split_frames(part, count, np.random.default_rng(seed)))
    vectors = embed(encoder, frames, fitted)
    best = (-1.0, np.zeros(0), 0.0)
    for rate in options.rates:
        model = Classifier(encoder, vectors, int(labels.max()) + 1)
        model.to(next(encoder.parameters()).device if isinstance(encoder, nn.Module) else "cpu")
        _train(model, frames, labels, fitted, options, rate, seed)
        accuracy = float(_hits(model, frames, labels, checked).mean())
        if accuracy > best[0]:
            best = (accuracy, _hits(model, frames, labels, test), rate)
    hits = best[1]
    means = np.array([hits[frames.episode[test] == episode].mean() for episode in np.unique(frames.episode[test])])
    error = float(means.std() / len(means) ** 0.5)
    return Truth(float(hits.mean()), error, best[2], time.perf_counter() - began)


def _train(
    model: Classifier,
    frames: Frames,
    labels: NDArray[np.int64],
    rows: NDArray[np.int64],
    options: FineTuning,
    rate: float,
    seed: int,
) -> None:
    order = BatchOrder(rows, options.batch_size, seed)
    parameters = list(model.parameters())
    optimizer = torch.optim.SGD(parameters, rate, momentum=MOMENTUM, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    for step in range(options.steps):
        batch = order[step]
        logits = model(inputs_of(model.encoder, frames, batch).to(model.mean.device))
        optimizer.zero_grad()
        F.cross_entropy(logits, torch.from_numpy(labels[batch]).to(logits.device)).backward()
        nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimizer.step()
        schedule.step()


@torch.no_grad()
def _hits(
    model: Classifier, frames: Frames, labels: NDArray[np.int64], rows: NDArray[np.int64], batch: int = 128
) -> NDArray[np.float64]:
    """Whether each row is told rightly."""
    device = model.mean.device
    told = [
        model(inputs_of(model.encoder, frames, part).to(device)).argmax(dim=1).cpu().numpy()
        for part in np.split(rows, range(batch, len(rows), batch))
    ]
    return (np.concatenate(told) == labels[rows]).astype(np.float64)
