"""Does an encoder between an old and an independent one find in the old memory, and lose nothing of the independent?

Handwritten digits. The old encoder (64-128-128-16) knows the classes 0 to 4, all others are trained on ten; 60 %
of the digits are trained on, the others are queries and gallery at once, none finding itself. The control takes out
what makes it compatible: P and Q stay as they were drawn, and nothing is drawn to the old encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.digit_encoders import (
    CLASSES,
    EPOCHS,
    OLD_CLASSES,
    TEMPERATURE,
    CosineClassifier,
    Digits,
    old_part,
    perceptron,
    retrieval,
    split_digits,
    train,
    trained_classifier,
)
from representation.compatibility.bt2 import BT2Encoder, bt2_loss
from representation.compatibility.class_prototypes import class_prototypes

WIDTH, EXTRA = 16, 4
CONTROL = (1.0, 0.0, 0.0)


@dataclass(frozen=True)
class Versions:
    """Two trained encoders, what the old one knows of the training digits, and the digits.

    Attributes:
        old: knows half of the classes.
        independent: knows all, and nothing of the old one.
        features: (N, 16) of the training digits by the old encoder.
        prototypes: (10, 16) of all classes by the old encoder.
        training: digits.
        held_out: digits.
    """

    old: CosineClassifier
    independent: CosineClassifier
    features: Tensor
    prototypes: Tensor
    training: Digits
    held_out: Digits


def versions(seed: int, epochs: int) -> Versions:
    """Train an old and an independent encoder."""
    training, held_out = split_digits(seed)
    old = trained_classifier(old_part(training), WIDTH, OLD_CLASSES, seed, epochs)
    independent = trained_classifier(training, WIDTH, CLASSES, seed + 100, epochs)
    with torch.no_grad():
        features = old.encode(training[0])
    prototypes = class_prototypes(features, training[1], CLASSES)
    return Versions(old, independent, features, prototypes, training, held_out)


def trained_bt2(
    between: Versions, seed: int, epochs: int, weights: tuple[float, float, float] = (1.0, 10.0, 5.0)
) -> BT2Encoder:
    """An encoder between both; with the weights of the control its matrices stay as they were drawn."""
    x, y = between.training
    generator = torch.Generator().manual_seed(seed)
    backbone = perceptron((64, 128, 128, 2 * WIDTH), seed + 200)
    encoder = BT2Encoder(
        backbone,
        2 * WIDTH,
        WIDTH,
        WIDTH,
        CLASSES,
        EXTRA,
        temperature=TEMPERATURE,
        generator=generator,
        project=False,
    )
    encoder.head.basis.requires_grad_(weights != CONTROL)
    with torch.no_grad():
        independent = between.independent.encode(x)

    def loss(rows: Tensor) -> Tensor:
        out = encoder(x[rows])
        return bt2_loss(out, y[rows], between.features[rows], independent[rows], between.prototypes, weights).total

    train([p for p in encoder.parameters() if p.requires_grad], loss, len(y), seed, epochs)
    return encoder.eval()


def measures(seed: int, epochs: int) -> dict[str, dict[str, float]]:
    """Retrieval by name of query and gallery."""
    between = versions(seed, epochs)
    old, independent, digits = between.old.encode, between.independent.encode, between.held_out
    bt2, control = (trained_bt2(between, seed, epochs, weights) for weights in ((1.0, 10.0, 5.0), CONTROL))
    return {
        "old/old": retrieval(old, old, digits),
        "independent/old": retrieval(independent, old, digits),
        "independent/independent": retrieval(independent, independent, digits),
        "new/old": retrieval(bt2.encode, old, digits),
        "new/new": retrieval(bt2.encode, bt2.encode, digits),
        "control/old": retrieval(control.encode, old, digits),
    }


def run(options: BenchOptions) -> list[Claim]:
    """Retrieval across versions, beside the old encoder, the independent one and chance."""
    found = [measures(seed, options.steps(EPOCHS)) for seed in range(options.seeds)]

    def by_seed(pair: str, measure: str) -> tuple[float, ...]:
        return tuple(one[pair][measure] for one in found)

    def negated(pair: str, measure: str) -> tuple[float, ...]:
        return tuple(-value for value in by_seed(pair, measure))

    def fixed(value: float) -> tuple[float, ...]:
        return (value,) * options.seeds

    return [
        Claim(
            "digits: mAP of new queries in the old memory",
            "old queries",
            by_seed("new/old", "mAP"),
            by_seed("old/old", "mAP"),
            0.03,
        ),
        Claim(
            "digits: mAP of independent queries in the old memory, negated",
            "0.15, negated",
            negated("independent/old", "mAP"),
            fixed(-0.15),
        ),
        Claim(
            "digits: first hits of new queries in a new memory",
            "independent encoder",
            by_seed("new/new", "top1"),
            by_seed("independent/independent", "top1"),
            -0.02,
        ),
        Claim(
            "digits: first hits in the old memory of the control, negated",
            "0.25, negated",
            negated("control/old", "top1"),
            fixed(-0.25),
        ),
    ]
