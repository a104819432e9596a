"""Does an encoder with a few more numbers and a rotation find in the old memory, as well as an independent in its own?

Handwritten digits, as in the benchmark of `bt2`, whose encoder is among the baselines. Nothing of the old encoder is
used but class prototypes. One control searches by what the classifier sees, after the rotation; another one knows
prototypes of no class but the old encoder's own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from representation.benchmarks.bt2 import EXTRA, WIDTH, Versions, trained_bt2, versions
from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.digit_encoders import (
    CLASSES,
    EPOCHS,
    OLD_CLASSES,
    TEMPERATURE,
    old_part,
    perceptron,
    retrieval,
    train,
)
from representation.compatibility.oca import OCAEncoder, oca_loss


def trained_oca(between: Versions, prototypes: Tensor, seed: int, epochs: int) -> OCAEncoder:
    """An encoder after an old one, of which it knows the prototypes."""
    x, y = between.training
    width = WIDTH + EXTRA
    backbone, generator = perceptron((64, 128, 128, width), seed + 200), torch.Generator().manual_seed(seed)
    encoder = OCAEncoder(backbone, width, WIDTH, EXTRA, CLASSES, generator, temperature=TEMPERATURE, project=False)
    train(
        encoder.parameters(),
        lambda rows: oca_loss(encoder(x[rows]), y[rows], prototypes).total,
        len(y),
        seed,
        epochs,
    )
    return encoder.eval()


def measures(seed: int, epochs: int) -> dict[str, dict[str, float]]:
    """Retrieval by name of query and gallery."""
    between = versions(seed, epochs)
    old, independent, digits = between.old.encode, between.independent.encode, between.held_out
    oca = trained_oca(between, between.prototypes, seed, epochs)
    few = between.prototypes.clone()
    few[OLD_CLASSES:] = 0
    subset = trained_oca(between, few, seed, epochs)
    bt2 = trained_bt2(between, seed, epochs)

    def turned(x: Tensor) -> Tensor:
        return oca(x).rotated

    def turned_about_the_origin(x: Tensor) -> Tensor:
        return turned(x) - oca.head.rotation.bias

    return {
        "old/old": retrieval(old, old, digits),
        "independent/old": retrieval(independent, old, digits),
        "independent/independent": retrieval(independent, independent, digits),
        "new/old": retrieval(oca.encode, old, digits),
        "new/new": retrieval(oca.encode, oca.encode, digits),
        "bt2/bt2": retrieval(bt2.encode, bt2.encode, digits),
        "rotated/old": retrieval(turned, old, digits),
        "rotated/rotated": retrieval(turned_about_the_origin, turned_about_the_origin, digits),
        "old/old, old classes": retrieval(old, old, old_part(digits)),
        "new/old, old classes": retrieval(subset.encode, old, old_part(digits)),
    }


def run(options: BenchOptions) -> list[Claim]:
    """Retrieval across versions, beside the old encoder, the independent one, BT² and both controls."""
    found = [measures(seed, options.steps(EPOCHS)) for seed in range(options.seeds)]

    def by_seed(pair: str, measure: str = "mAP") -> tuple[float, ...]:
        return tuple(one[pair][measure] for one in found)

    rotated = tuple(-value for value in by_seed("rotated/old", "top1"))
    gap = tuple(-abs(a - b) for a, b in zip(by_seed("rotated/rotated"), by_seed("new/new"), strict=True))
    return [
        Claim(
            "digits: mAP of new queries in the old memory", "old queries", by_seed("new/old"), by_seed("old/old"), 0.04
        ),
        Claim(
            "digits: mAP of new queries in a new memory",
            "independent encoder",
            by_seed("new/new"),
            by_seed("independent/independent"),
            -0.01,
        ),
        Claim("digits: mAP of new queries in a new memory", "BT²", by_seed("new/new"), by_seed("bt2/bt2")),
        Claim(
            "digits: first hits in the old memory by what the classifier sees, negated",
            "0.3, negated",
            rotated,
            (-0.3,) * options.seeds,
        ),
        Claim(
            "digits: what the rotation changes of the mAP in a new memory, negated",
            "a millionth, negated",
            gap,
            (-1e-6,) * options.seeds,
        ),
        Claim(
            "digits: mAP in the old memory, old classes, with prototypes of these alone",
            "old queries",
            by_seed("new/old, old classes"),
            by_seed("old/old, old classes"),
            -0.02,
        ),
    ]
