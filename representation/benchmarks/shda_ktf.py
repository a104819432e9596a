"""Handwritten digits of which three of each class are labelled: KTF with noise as its source, beside no source.

800 digits are unlabelled and trained with; the other thousand are held out. The source is Gaussian noise of 10 classes,
50 vectors of each. What is asked of a fit's time, and of sources that must not help, is asked of the worst seed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.digit_encoders import all_digits
from representation.transfer.label_few import drawn_labels
from representation.transfer.shda_ktf import KTFResult, fit_ktf, noise_source, target_only, transfer_diagnostics
from representation.transfer.shda_ktf.sources import Labelled

CLASSES, LABELS, UNLABELLED, PER_CLASS = 10, 3, 800, 50
STEPS, PLAIN_STEPS = 600, 500
SEPARATIONS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0)
LONGEST_S, LEAST = 15.0, 0.15


@dataclass(frozen=True)
class Task:
    """Digits (N, 64), their classes, and rows of each part."""

    x: Tensor
    y: Tensor
    labelled: Tensor
    unlabelled: Tensor
    held_out: Tensor

    def right(self, result: KTFResult, rows: Tensor) -> float:
        """Share of rows whose class is told."""
        return float((result.probabilities(self.x[rows]).argmax(dim=1) == self.y[rows]).float().mean())


def task(seed: int) -> Task:
    """Draw which digits are labelled."""
    x, y = all_digits()
    rng = np.random.default_rng(seed)
    labelled = drawn_labels(y.numpy(), LABELS, rng)
    rest = torch.from_numpy(rng.permutation(np.setdiff1d(np.arange(len(y)), labelled)))
    return Task(x, y, torch.from_numpy(labelled), rest[:UNLABELLED], rest[UNLABELLED:])


def without_structure(seed: int) -> Labelled:
    """Noise around one mean, named as if it were of all classes."""
    (x, y) = noise_source(2, per_class=CLASSES * PER_CLASS, seed=seed)
    return x[y == 0], torch.arange(CLASSES).repeat_interleave(PER_CLASS)


def run(options: BenchOptions) -> list[Claim]:
    """Accuracy by seed, with sources of several kinds and none."""
    found = [measured(seed, options) for seed in range(options.seeds)]

    def by_seed(name: str) -> tuple[float, ...]:
        return tuple(one[name] for one in found)

    def worst(name: str) -> tuple[float, ...]:
        return (float(np.subtract(by_seed("noise"), by_seed(name)).min()),) * options.seeds

    what = f"digits told of {UNLABELLED} unlabelled, {LABELS} labels of a class, noise as source"
    noise, zero, least = by_seed("noise"), (0.0,) * options.seeds, (LEAST,) * options.seeds
    return [
        Claim(what, "same network, labels alone, tau 0.05", noise, by_seed("alone, 0.05"), 0.07),
        Claim(what, "same network, labels alone, tau 0.001", noise, by_seed("alone, 0.001"), 0.07),
        Claim(what, "NNt, hidden layer not normalised", noise, by_seed("NNt"), None),
        Claim(what, "noise of one mean as source", noise, by_seed("without structure"), None),
        Claim("smallest difference of these over seeds", "asked", worst("without structure"), least),
        Claim(what, "noise with shuffled classes as source", noise, by_seed("shuffled"), None),
        Claim("smallest difference of these over seeds", "asked", worst("shuffled"), least),
        Claim(
            "difference after renaming the source's classes and drawing weights anew, negated",
            "asked: 0.06, negated",
            tuple(-abs(a - b) for a, b in zip(by_seed("renamed"), noise, strict=True)),
            (-0.06,) * options.seeds,
        ),
        Claim(
            f"rank correlation of accuracy on source and target, {len(SEPARATIONS)} separations from 0 to 2",
            "asked",
            by_seed("rank correlation"),
            (0.7,) * options.seeds,
        ),
        Claim("digits told that were held out", "of the unlabelled", by_seed("held out"), noise, -0.05),
        Claim("discriminability of noise, minus cross-entropy", "0", by_seed("discriminability"), zero, None),
        Claim("transferability of noise, minus L_MMD", "0", by_seed("transferability"), zero, None),
        Claim(
            f"largest seconds of a fit of {STEPS} steps over seeds, negated",
            f"asked: {LONGEST_S:g}, negated",
            (-max(by_seed("seconds")),) * options.seeds,
            (-LONGEST_S,) * options.seeds,
        ),
    ]


def measured(seed: int, options: BenchOptions) -> dict[str, float]:
    """What is told of one draw."""
    digits, steps = task(seed), options.steps(STEPS)
    known = digits.x[digits.labelled], digits.y[digits.labelled], digits.x[digits.unlabelled]
    noise = noise_source(CLASSES, per_class=PER_CLASS, seed=seed)
    began = time.monotonic()
    result = fit_ktf(*known, noise, steps=steps, seed=seed)
    found = {"seconds": time.monotonic() - began, **transfer_diagnostics(result)}
    found["noise"], found["held out"] = (digits.right(result, rows) for rows in (digits.unlabelled, digits.held_out))
    generator = torch.Generator().manual_seed(seed)
    names = torch.randperm(CLASSES, generator=generator)
    order = torch.randperm(len(noise[1]), generator=generator)
    others = {
        "without structure": fit_ktf(*known, without_structure(seed), steps=steps, seed=seed),
        "shuffled": fit_ktf(*known, (noise[0], noise[1][order]), steps=steps, seed=seed),
        "renamed": fit_ktf(*known, (noise[0], names[noise[1]]), steps=steps, seed=1000 + seed),
        "alone, 0.05": fit_ktf(*known, noise, beta=0.0, mu=0.0, steps=steps, seed=seed),
        "alone, 0.001": fit_ktf(*known, noise, beta=0.0, mu=0.0, tau=1e-3, steps=steps, seed=seed),
        "NNt": target_only(*known[:2], steps=options.steps(PLAIN_STEPS), seed=seed),
    }
    found.update({name: digits.right(other, digits.unlabelled) for name, other in others.items()})
    ranked = [(found["source_accuracy"], found["noise"])]
    for separation in SEPARATIONS:
        if separation != 1.0:
            source = noise_source(CLASSES, per_class=PER_CLASS, separation=separation, seed=seed)
            one = fit_ktf(*known, source, steps=steps, seed=seed)
            ranked.append((transfer_diagnostics(one)["source_accuracy"], digits.right(one, digits.unlabelled)))
    found["rank correlation"] = float(spearmanr(*np.array(ranked).T)[0])
    return found
