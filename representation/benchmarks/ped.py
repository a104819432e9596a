"""PED foretells which way fine-tuning moves the classes of digits that an encoder had not seen.

Encoders of 2 to 5 digits; twenty samples of each of five other digits; one step of PED, beside how the means of their
classes moved when the encoder was fine-tuned to them, both without what all classes share. Then how well LogME, with
and without PED, ranks such encoders, of which nothing is asked on so small a pool.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.digit_transfer import FINE_TUNED, PRETRAINED, Transfer, transfers
from representation.selection.labelled_features import class_means
from representation.selection.logme import logme
from representation.selection.ped import LEAST_STD, ped_step, score_with_ped
from representation.selection.rank_agreement import rank_agreement

LEAST_SEEDS, LEAST_COSINE = 4, 0.05


def run(options: BenchOptions) -> list[Claim]:
    """Cosines of shifts, and agreement of scores with the truth, over at least four seeds."""
    seeds = range(max(options.seeds, LEAST_SEEDS))
    pools = [transfers(seed, options.steps(PRETRAINED), options.steps(FINE_TUNED)) for seed in seeds]
    cosines = [[cosine(pushed(one), moved(one)) for one in pool] for pool in pools]
    turned = [
        [cosine(random_shift(one, seed), moved(one)) for one in pool] for seed, pool in zip(seeds, pools, strict=True)
    ]
    means, chance = (tuple(float(np.mean(one)) for one in found) for found in (cosines, turned))
    positive = tuple(float(np.mean(np.array(one) > 0)) for one in cosines)
    scores = {
        "LogME": lambda one: logme(one.before, one.labels),
        "PED and LogME": lambda one: score_with_ped(one.before, one.labels, one.general),
    }
    agreed = {
        name: tuple(
            rank_agreement([score(one) for one in pool], [one.accuracy for one in pool])["weighted_kendall"]
            for pool in pools
        )
        for name, score in scores.items()
    }
    what = f"{len(pools)} seeds, 8 encoders of digits"
    return [
        Claim(
            f"{what}: cosine of PED's step and of what fine-tuning did", "random shifts", means, chance, LEAST_COSINE
        ),
        Claim(f"{what}: the same", "asked", means, (LEAST_COSINE,) * len(pools)),
        Claim(f"{what}: share of encoders for which it is above 0", "half", positive, (0.5,) * len(pools), None),
        Claim(
            f"{what}: weighted Kendall tau with accuracy after fine-tuning, PED and LogME",
            "LogME",
            agreed["PED and LogME"],
            agreed["LogME"],
            None,
        ),
    ]


def pushed(one: Transfer) -> NDArray:
    """Shift (C, D) of each class in one step of PED, in the scale of the features."""
    mean, std = one.general.mean(axis=0), one.general.std(axis=0)
    return ped_step(one.before, one.labels, mean, std)[1] * np.maximum(std, LEAST_STD)


def moved(one: Transfer) -> NDArray:
    """Change (C, D) of the means of classes by fine-tuning."""
    return class_means(one.after - one.before, one.labels)


def random_shift(one: Transfer, seed: int) -> NDArray:
    """Shifts of the size of PED's in random directions."""
    shifts = pushed(one)
    return np.random.default_rng(seed).normal(size=shifts.shape) * np.linalg.norm(shifts, axis=1, keepdims=True)


def cosine(first: NDArray, second: NDArray) -> float:
    """Of two (C, D), without the drift that all classes share."""
    a, b = first - first.mean(axis=0), second - second.mean(axis=0)
    return float((a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b)))
