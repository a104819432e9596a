"""Does a frozen simplex keep classes in place between trainings, and does HOC keep more while fine-tuning?

Handwritten digits; 60 % are trained on. An old encoder (64-128-128-31 under a simplex of 32 vertices) knows the
classes 0 to 4. One new encoder is trained from other weights on all ten, beside the same with a learned classifier;
others go on from the old one, with classes alone or with HOC.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.digit_encoders import (
    EPOCHS,
    Digits,
    old_part,
    perceptron,
    retrieval,
    split_digits,
    train,
)
from representation.compatibility.d_simplex import DSimplexEncoder, hoc_objective

VERTICES = 32


def untrained(seed: int, is_learned: bool) -> DSimplexEncoder:
    """An encoder under a simplex, or under a classifier of its size that is learned."""
    encoder = DSimplexEncoder(perceptron((64, 128, 128, VERTICES - 1), seed), VERTICES - 1, VERTICES)
    if is_learned:
        drawn = torch.randn(VERTICES, VERTICES - 1, generator=torch.Generator().manual_seed(seed)) / VERTICES**0.5
        del encoder.head.weight
        encoder.head.weight = nn.Parameter(drawn)
    return encoder


def trained(
    encoder: DSimplexEncoder, digits: Digits, seed: int, epochs: int, old: DSimplexEncoder | None = None
) -> DSimplexEncoder:
    """Train on classes, and with HOC if there is an old version to keep to."""
    x, y = digits

    def loss(rows: Tensor) -> Tensor:
        logits, z = encoder(x[rows])
        if old is None:
            return F.cross_entropy(logits, y[rows])
        with torch.no_grad():
            before = old.encode(x[rows])
        return hoc_objective(logits, y[rows], F.normalize(z, dim=1), before)

    train(encoder.parameters(), loss, len(y), seed, epochs)
    return encoder.eval()


def measures(seed: int, epochs: int) -> dict[str, dict[str, float]]:
    """Retrieval by how the new encoder was trained."""
    training, held_out = split_digits(seed)
    found = {}
    for name, is_learned in (("simplex", False), ("learned", True)):
        old = trained(untrained(seed, is_learned), old_part(training), seed, epochs)
        new = trained(untrained(seed + 100, is_learned), training, seed + 100, epochs)
        found[f"{name} new/old, old classes"] = retrieval(new.encode, old.encode, old_part(held_out))
        if not is_learned:
            first = old
    for name, before in (("classes", None), ("HOC", first)):
        new = trained(copy.deepcopy(first).train(), training, seed + 200, epochs, before)
        found[f"{name} new/old"] = retrieval(new.encode, first.encode, held_out)
        found[f"{name} new/new"] = retrieval(new.encode, new.encode, held_out)
    return found


def run(options: BenchOptions) -> list[Claim]:
    """Retrieval across versions, beside a learned classifier and fine-tuning without HOC."""
    found = [measures(seed, options.steps(EPOCHS)) for seed in range(options.seeds)]

    def by_seed(pair: str, measure: str) -> tuple[float, ...]:
        return tuple(one[pair][measure] for one in found)

    def worst(pair: str, sign: float) -> tuple[float, ...]:
        return (min(sign * value for value in by_seed(pair, "top1")),) * options.seeds

    simplex, learned = "simplex new/old, old classes", "learned new/old, old classes"
    return [
        Claim(
            "digits: first hits of another training in the old memory, worst seed",
            "0.9",
            worst(simplex, 1.0),
            (0.9,) * options.seeds,
        ),
        Claim(
            "digits: the same with a learned classifier, best seed, negated",
            "0.35, negated",
            worst(learned, -1.0),
            (-0.35,) * options.seeds,
        ),
        Claim(
            "digits: mAP in the old memory after going on with HOC",
            "with classes alone",
            by_seed("HOC new/old", "mAP"),
            by_seed("classes new/old", "mAP"),
            0.03,
        ),
        Claim(
            "digits: first hits in its own memory after going on with HOC",
            "with classes alone",
            by_seed("HOC new/new", "top1"),
            by_seed("classes new/new", "top1"),
            -0.05,
        ),
    ]
