"""Small encoders of handwritten digits, old and new, that the benchmarks of `compatibility/` compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.compatibility.retrieval import retrieval_cmc_map

OLD_CLASSES, CLASSES = 5, 10
TEMPERATURE = 10.0
EPOCHS, BATCH, LR = 60, 64, 1e-3

Digits = tuple[Tensor, Tensor]
"""Digits (N, 64) in [0, 1] and their classes (N,)."""


def all_digits() -> Digits:
    """All of them, in the order of the file."""
    digits = load_digits()
    return torch.from_numpy(digits.data / 16).float(), torch.from_numpy(digits.target)


def split_digits(seed: int) -> tuple[Digits, Digits]:
    """60 % to train on and 40 % to test with, alike in classes."""
    x, y = all_digits()
    train, test = train_test_split(np.arange(len(y)), test_size=0.4, stratify=y, random_state=seed)
    return (x[train], y[train]), (x[test], y[test])


def old_part(digits: Digits) -> Digits:
    """Those of the classes that the old encoder knows: 0 to 4."""
    rows = digits[1] < OLD_CLASSES
    return digits[0][rows], digits[1][rows]


def perceptron(widths: Sequence[int], seed: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers with an activation between them."""
    layers: list[nn.Module] = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


def train(
    parameters: Iterable[Tensor],
    loss: Callable[[Tensor], Tensor],
    count: int,
    seed: int,
    epochs: int,
    batch: int = BATCH,
) -> None:
    """Adam on the loss of random rows of `count` samples."""
    generator, optimizer = torch.Generator().manual_seed(seed), torch.optim.Adam(list(parameters), LR)
    for _ in range(epochs):
        for rows in torch.randperm(count, generator=generator).split(batch):
            optimizer.zero_grad()
            loss(rows).backward()
            optimizer.step()


class CosineClassifier(nn.Module):
    """An encoder under a classifier by cosines; its vectors have unit length."""

    def __init__(self, width: int, classes: int, seed: int) -> None:
        super().__init__()
        self.encoder = perceptron((64, 128, 128, width), seed)
        self.weight = nn.Parameter(torch.randn(classes, width, generator=torch.Generator().manual_seed(seed)))

    def encode(self, x: Tensor) -> Tensor:
        """Unit vectors (B, width)."""
        return F.normalize(self.encoder(x), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes)."""
        return TEMPERATURE * self.encode(x) @ F.normalize(self.weight, dim=1).T


def trained_classifier(digits: Digits, width: int, classes: int, seed: int, epochs: int) -> CosineClassifier:
    """A cosine classifier of some digits; in evaluation mode."""
    x, y = digits
    model = CosineClassifier(width, classes, seed)
    train(model.parameters(), lambda rows: F.cross_entropy(model(x[rows]), y[rows]), len(y), seed, epochs)
    return model.eval()


@torch.no_grad()
def retrieval(
    query: Callable[[Tensor], Tensor], gallery: Callable[[Tensor], Tensor], digits: Digits
) -> dict[str, float]:
    """`retrieval_cmc_map` of digits among themselves, each encoded by both."""
    x, y = digits
    return retrieval_cmc_map(query(x), gallery(x), y, y)
