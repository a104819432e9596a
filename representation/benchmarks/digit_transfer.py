"""Small encoders of some digits that are fine-tuned to others, which the benchmarks of `selection/` score before."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.digit_encoders import Digits, all_digits, perceptron, train

WIDTHS, ENCODERS, SHOTS, TARGETS = (64, 128, 32), 8, 20, 5
PRETRAINED, FINE_TUNED, BATCH = 30, 20, 16  # epochs, epochs, samples


@dataclass(frozen=True)
class Transfer:
    """One encoder before and after it was fine-tuned to classes that it had not seen.

    Attributes:
        before: features (N, 32) of the few labelled digits.
        after: the same of the fine-tuned encoder.
        labels: their classes (N,), from 0 to 4.
        general: features (M, 32) of the digits of the other classes, before.
        accuracy: of the fine-tuned encoder on all other digits of the new classes.
    """

    before: NDArray
    after: NDArray
    labels: NDArray[np.int64]
    general: NDArray
    accuracy: float


def chosen(digits: Digits, classes: NDArray[np.int64]) -> Digits:
    """Digits of some classes, which are numbered anew in their order."""
    x, y = digits
    rows = torch.isin(y, torch.from_numpy(classes))
    return x[rows], torch.unique(y[rows], return_inverse=True)[1]


def fitted(encoder: nn.Sequential, digits: Digits, seed: int, epochs: int, batch: int) -> nn.Sequential:
    """The encoder under a new linear head, both trained."""
    x, y = digits
    head = perceptron((WIDTHS[-1], int(y.max()) + 1), seed + 500)
    model = nn.Sequential(encoder, nn.ReLU(), head)
    train(model.parameters(), lambda rows: F.cross_entropy(model(x[rows]), y[rows]), len(y), seed, epochs, batch)
    return model


def features(encoder: nn.Module, x: Tensor) -> NDArray[np.float64]:
    """Vectors (N, D) as numbers of NumPy."""
    with torch.no_grad():
        return encoder(x).double().numpy()


def transfers(seed: int, pretrained: int, fine_tuned: int) -> list[Transfer]:
    """Encoders of 2 to 5 of five classes, fine-tuned to the other five; epochs of both."""
    digits, rng = all_digits(), np.random.default_rng(seed)
    target, source = np.split(rng.permutation(10), [TARGETS])
    x, y = chosen(digits, target)
    rows = torch.from_numpy(rng.permutation(len(y)))
    few = torch.cat([rows[y[rows] == c][:SHOTS] for c in range(TARGETS)])
    rest = rows[~torch.isin(rows, few)]
    general, found = chosen(digits, source)[0], []
    for number in range(ENCODERS):
        known = rng.permutation(source)[: 2 + number % 4]
        model = fitted(perceptron(WIDTHS, 100 * seed + number), chosen(digits, known), seed, pretrained, 64)
        encoder = model[0]
        tuned = fitted(copy.deepcopy(encoder), (x[few], y[few]), seed + number, fine_tuned, BATCH)
        with torch.no_grad():
            accuracy = float((tuned(x[rest]).argmax(dim=1) == y[rest]).float().mean())
        vectors = features(encoder, x[few]), features(tuned[0], x[few])
        found.append(Transfer(*vectors, y[few].numpy(), features(encoder, general), accuracy))
    return found
