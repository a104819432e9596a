"""What five trainings of a small network tell of digits that none of them saw, side by side and distilled.

Members have 8 units under a classifier of 5 random digits; logistic regression learns the other 5 from 20 samples each.
Accuracies are relative to such narrow vectors: raw pixels of these digits tell more than any of them. The
numbers that are asked for are of means over four seeds (`--seeds 4`).

Copies of one training side by side hold nothing new, so they must tell what it tells. Regression can spread a weight
over n copies, which makes its squared penalty n times smaller: under the same inverse strength C the penalty is weaker,
and under C / n it is the same. The claim is checked under both. What copies gain under the same C comes from the weaker
penalty alone, and may be part of what five trainings gain, so that these are told under C / n too. C is not chosen on
folds: on a hundred samples the choice itself moves the accuracy by more than the 0.01 that is asked.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.digit_encoders import perceptron, split_digits
from representation.interface import Modality
from representation.probes import linear_probe
from representation.transfer.rich_representations import (
    CatEncoder,
    Classifier,
    DistillConfig,
    FinetuneConfig,
    MultiHeadDistiller,
    Samples,
    TrainConfig,
    all_vectors,
    few_shots,
    finetune_jointly,
    train_members,
    train_parallel,
    two_stage_finetune,
)

MEMBERS, UNITS, SHOTS, STRENGTH = 5, 8, 20, 0.1
HIDDEN, STUDENT, EPOCHS, BATCH = 64, 32, 60, 32


class DigitNet(nn.Module):
    """A perceptron whose last layer's units, not negative, are the vector."""

    modality: Modality = "image"

    def __init__(self, hidden: int, width: int, seed: int) -> None:
        super().__init__()
        self.width, self.layers = width, nn.Sequential(perceptron((64, hidden, width), seed), nn.ReLU())

    def encode(self, inputs: Tensor) -> Tensor:
        """Vectors (B, width) of digits (B, 64)."""
        return self.layers(inputs)


def member_net(seed: int) -> DigitNet:
    """An untrained member."""
    return DigitNet(HIDDEN, UNITS, seed)


def wide_net(seed: int) -> DigitNet:
    """As wide in all layers as all members together."""
    return DigitNet(MEMBERS * HIDDEN, MEMBERS * UNITS, seed)


def source_and_target(seed: int) -> tuple[tuple[Samples, Samples], tuple[Samples, Samples]]:
    """Training and test digits of 5 random classes, and those of the other 5: a few of each, and test digits."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randperm(10, generator=generator)
    parts = [
        [
            Samples(x[rows], torch.searchsorted(chosen, y[rows]))
            for x, y in split_digits(seed)
            for rows in [torch.isin(y, chosen)]
        ]
        for chosen in (classes[:5].sort().values, classes[5:].sort().values)
    ]
    (train, test), (pool, target_test) = parts
    return (train, test), (pool.subset(few_shots(pool.labels, SHOTS, generator)[0]), target_test)


def accuracy(encoder: nn.Module, parts: Sequence[Samples], strength: float = STRENGTH) -> float:
    """Of logistic regression on standardised vectors, fitted on the first and scored on the second samples."""
    fitted, scored = ((all_vectors(encoder, part.inputs).numpy(), part.labels.numpy()) for part in parts)
    return linear_probe(fitted, scored, "digit", strength).score


def classified(model: Classifier, samples: Samples) -> float:
    """Accuracy of a classifier."""
    with torch.no_grad():
        return float((model(samples.inputs).argmax(dim=1) == samples.labels).float().mean())


def measured(seed: int, epochs: int) -> dict[str, float]:
    """Accuracies on the target, and some on the source, by name."""
    source, target = source_and_target(seed)
    config, base = TrainConfig(epochs, BATCH), 100 * seed
    members = train_members(member_net, source[0], MEMBERS, range(base, base + MEMBERS), config)
    encoders = [member.encoder for member in members]
    cat, copies = CatEncoder(encoders), CatEncoder([encoders[0]] * MEMBERS)
    (wide,) = train_members(wide_net, source[0], 1, [base], config)
    together = train_parallel(member_net, source[0], MEMBERS, base, config)
    states = train_members(member_net, source[0], MEMBERS, [base], config, snapshots=True)
    student = DigitNet(HIDDEN, STUDENT, base + 50)
    order = torch.Generator().manual_seed(base)
    batches = _Shuffled(source[0].inputs, order)
    MultiHeadDistiller(student, encoders, [member.head for member in members], seed=base).fit(
        batches, DistillConfig(epochs)
    )
    found = {
        "single": float(np.mean([accuracy(encoder, target) for encoder in encoders])),
        "cat": accuracy(cat, target),
        "wide": accuracy(wide.encoder, target),
        "together": accuracy(together.encoder, target),
        "snapshots": accuracy(CatEncoder([member.encoder for member in states]), target),
        "distilled": accuracy(student, target),
        "first": accuracy(encoders[0], target),
        "copies": accuracy(copies, target),
        "copies, same penalty": accuracy(copies, target, STRENGTH / MEMBERS),
        "cat, same penalty": accuracy(cat, target, STRENGTH / MEMBERS),
        "source single": float(np.mean([accuracy(encoder, source) for encoder in encoders])),
        "source cat": accuracy(cat, source),
    }
    tuning = FinetuneConfig(TrainConfig(epochs, BATCH, final_lr=1e-7), seed=base)
    found["tuned cat"] = classified(two_stage_finetune(members, target[0], tuning), target[1])
    found["tuned as one"] = classified(finetune_jointly(members, target[0], tuning.each, base), target[1])
    singles = [two_stage_finetune([member], target[0], tuning) for member in members[:2]]
    found["tuned single"] = float(np.mean([classified(model, target[1]) for model in singles]))
    return found


def run(options: BenchOptions) -> list[Claim]:
    """Accuracies by seed."""
    found = [measured(seed, options.steps(EPOCHS)) for seed in range(options.seeds)]
    by = {name: tuple(one[name] for one in found) for name in found[0]}
    gap = tuple(one["cat"] - one["single"] for one in found)
    task = f"unseen digits from {SHOTS} shots"

    def within(a: str, b: str) -> tuple[float, ...]:
        return tuple(-abs(x - y) for x, y in zip(by[a], by[b], strict=True))

    return [
        Claim(f"{task}, {MEMBERS} trainings side by side", "one training", by["cat"], by["single"], 0.08),
        Claim(f"{task}, the same", "one net as wide", by["cat"], by["wide"], 0.04),
        Claim(f"{task}, the same", "as large, trained as one", by["cat"], by["together"], 0.03),
        Claim("digits of the source: gain of all over one, without sign, negated", "asked: 0.015, negated",
              within("source cat", "source single"), (-0.015,) * options.seeds),
        Claim(f"{task}, distilled into {STUDENT} units under {MEMBERS} heads", "one training and 30 % of the gain",
              by["distilled"], tuple(s + 0.3 * g for s, g in zip(by["single"], gap, strict=True))),
        Claim(f"{task}, {MEMBERS} copies of one training, same C: distance to it, negated", "asked: 0.01, negated",
              within("copies", "first"), (-0.01,) * options.seeds),
        Claim(f"{task}, {MEMBERS} copies of one training, C / {MEMBERS}: distance to it, negated",
              "asked: 0.01, negated", within("copies, same penalty", "first"), (-0.01,) * options.seeds),
        Claim(f"{task}, {MEMBERS} trainings side by side, C / {MEMBERS}", "one training",
              by["cat, same penalty"], by["single"], None),
        Claim(f"{task}, {MEMBERS} states along one training", "one training", by["snapshots"], by["single"], None),
        Claim(f"{task}, all tuned in two stages", "one member tuned", by["tuned cat"], by["tuned single"], None),
        Claim(f"{task}, all tuned in two stages", "all tuned as one", by["tuned cat"], by["tuned as one"], None),
    ]  # fmt: skip


class _Shuffled:
    """Batches of inputs in a new order each time."""

    def __init__(self, inputs: Tensor, generator: torch.Generator) -> None:
        self._inputs, self._generator = inputs, generator

    def __iter__(self) -> object:
        order = torch.randperm(len(self._inputs), generator=self._generator)
        return iter([self._inputs[rows] for rows in order.split(BATCH)])
