"""Nested vectors of digits: beside networks of their own for every length, cut ordinary vectors, and full search."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from representation.benchmarks.claims import BenchOptions, Claim
from representation.image_tower import draw_weights
from representation.pretraining.matryoshka import (
    CascadeClassifier,
    MatryoshkaCELoss,
    MatryoshkaLinear,
    NestedIndex,
)

NESTING = (2, 4, 8, 16, 32, 64)
EPOCHS, BATCH, TRAINING, FITTED = 60, 100, 1000, 300
FUNNEL, SHORTLISTS = (4, 8, 16, 32, 64), (100, 50, 25, 10)


def run(options: BenchOptions) -> list[Claim]:
    """Train and compare, by seed."""
    found = [_one(seed, options.steps(EPOCHS)) for seed in range(options.seeds)]

    def claim(text: str, name: str, ours: str, baseline: str, least: float) -> Claim:
        return Claim(text, name, tuple(x[ours] for x in found), tuple(x[baseline] for x in found), least)

    claims = [
        claim(f"accuracy by {m} numbers", "network of its own", f"nested {m}", f"own {m}", -0.1 if m == 2 else -0.02)
        for m in NESTING
        if m != 4
    ]
    claims += [
        claim(f"nearest neighbour by {m} numbers", "ordinary vector, cut", f"neighbour {m}", f"cut {m}", least)
        for m, least in ((2, 0.1), (4, 0.05))
    ]
    return [
        *claims,
        claim("accuracy of the cascade", "all 64 numbers", "cascade", "last", -0.035),
        claim("64 over the cascade's mean length", "all 64 numbers", "saving", "one", 7.0),
        claim("nearest neighbour by the funnel", "search with 64", "funnel", "full", -0.01),
        claim("multiply-adds that the funnel saves, times", "search with 64", "funnel saving", "one", 8.0),
    ]


def _one(seed: int, epochs: int) -> dict[str, float]:
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images = torch.from_numpy(digits.data[order] / 16).float()
    labels = torch.from_numpy(digits.target[order])
    y, test_y = labels[:TRAINING], labels[TRAINING:]
    result, vectors = {"one": 1.0}, {}
    for lengths in (NESTING, *((m,) for m in NESTING)):
        z, logits = _trained(images, y, lengths, seed, epochs)
        vectors[lengths] = z
        name = "nested" if len(lengths) > 1 else "own"
        accuracy = [float((one[TRAINING:].argmax(dim=1) == test_y).float().mean()) for one in logits]
        result |= {f"{name} {m}": value for m, value in zip(lengths, accuracy, strict=True)}
        if len(lengths) > 1:
            held_out = [one[TRAINING:] for one in logits]
    nested, ordinary = vectors[NESTING], vectors[NESTING[-1:]]
    for name, z in (("neighbour", nested), ("cut", ordinary)):
        index = NestedIndex(z[:TRAINING], NESTING)
        result |= {f"{name} {m}": _hits(index.search(z[TRAINING:], 1, m), y, test_y) for m in NESTING}
    index = NestedIndex(nested[:TRAINING], NESTING)
    result["full"] = result["neighbour 64"]
    result["funnel"] = _hits(index.funnel_search(nested[TRAINING:], FUNNEL, SHORTLISTS), y, test_y)
    result["funnel saving"] = index.cost(NESTING[-1:]) / index.cost(FUNNEL, SHORTLISTS)
    cascade = CascadeClassifier(NESTING).fit([one[:FITTED] for one in held_out], test_y[:FITTED])
    classes, _ = cascade.predict([one[FITTED:] for one in held_out])
    rest = test_y[FITTED:].numpy()
    result["cascade"] = float((classes == rest).mean())
    result["last"] = float((held_out[-1][FITTED:].argmax(dim=1).numpy() == rest).mean())
    result["saving"] = NESTING[-1] / cascade.expected_dim
    return result


def _trained(
    images: Tensor, labels: Tensor, lengths: tuple[int, ...], seed: int, epochs: int
) -> tuple[Tensor, list[Tensor]]:
    """Vectors and logits of all images by a network whose first numbers were trained, of these lengths."""
    generator = torch.Generator().manual_seed(seed)
    encoder = draw_weights(nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64)), generator)
    head = draw_weights(MatryoshkaLinear(lengths, 10), generator)
    criterion = MatryoshkaCELoss()
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=1e-4)
    for _ in range(epochs):
        for rows in torch.randperm(len(labels), generator=generator).split(BATCH):
            optimizer.zero_grad()
            criterion(head(encoder(images[rows])), labels[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        z = encoder(images)
        return z, head(z)


def _hits(neighbours: np.ndarray, labels: Tensor, expected: Tensor) -> float:
    return float((labels[torch.from_numpy(neighbours[:, 0])] == expected).float().mean())
