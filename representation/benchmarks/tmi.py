"""TMI sees classes that fell together in pretraining, on digits; and how its ranking of encoders agrees with the truth.

Networks learn a random coarse label of the digits, five against five, while a centre loss draws the features of each
coarse class together. The ten fine labels, which fine-tuning would ask for, then have less and less room. Beside it,
encoders of some digits are ranked before they are fine-tuned to others: TMI, whose raw form follows the scale of the
features, need not agree with the truth on so small a pool, and nothing is asked of it.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.digit_encoders import all_digits, perceptron
from representation.benchmarks.digit_transfer import FINE_TUNED, PRETRAINED, Transfer, features, transfers
from representation.selection.hscore import hscore
from representation.selection.logme import logme
from representation.selection.rank_agreement import rank_agreement
from representation.selection.ranking import rank_encoders, scaled_tmi
from representation.selection.tmi import tmi_score

WEIGHTS = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3)  # of the centre loss
STEPS, LR, LENGTH, MIN_DIST = 150, 1e-2, 10.0, 1e-3
RANKED, IMAGES, WIDTH, LIMIT_S = 6, 1000, 512, 60.0


def run(options: BenchOptions) -> list[Claim]:
    """Scores as classes collapse, agreement with the truth, and what the ranking of six encoders takes."""
    seeds = range(options.seeds)
    series = [collapse(seed, options.steps(STEPS)) for seed in seeds]
    falls = tuple(float((np.diff(one["tmi"]) < 0).all()) for one in series)
    pools = [transfers(seed, options.steps(PRETRAINED), options.steps(FINE_TUNED)) for seed in seeds]
    agreed = [agreement(pool) for pool in pools]
    seconds = tuple(ranking_seconds(seed) for seed in seeds)
    strengths = ", ".join(f"{weight:g}" for weight in WEIGHTS)
    claims = [
        Claim(f"share of runs in which TMI falls with each weight of the centre loss ({strengths})", "asked", falls,
              (1.0,) * options.seeds),
        *(
            Claim(f"digits: {name} of {LENGTH:g}-long features, no centre loss", f"weight {WEIGHTS[-1]:g}",
                  tuple(one[name][0] for one in series), tuple(one[name][-1] for one in series), None)
            for name in ("tmi", "logme", "hscore")
        ),
        Claim(f"seconds to rank {RANKED} encoders, {IMAGES} images, {WIDTH} numbers, negated", "asked, negated",
              tuple(-value for value in seconds), (-LIMIT_S,) * options.seeds),
    ]  # fmt: skip
    return claims + [
        Claim(
            f"weighted Kendall tau with accuracy after fine-tuning, 8 encoders of digits: {name}",
            "LogME",
            tuple(one[name] for one in agreed),
            tuple(one["LogME"] for one in agreed),
            None,
        )
        for name in ("raw TMI", "TMI by RMS")
    ]


def collapse(seed: int, steps: int) -> dict[str, list[float]]:
    """Scores of the fine labels, by weight of the centre loss."""
    found: dict[str, list[float]] = {"tmi": [], "logme": [], "hscore": []}
    for weight in WEIGHTS:
        z, y = collapsed(seed, weight, steps)
        z = LENGTH * z / np.sqrt((z**2).sum(axis=1).mean())
        found["tmi"].append(tmi_score(z, y, min_dist=MIN_DIST).score)
        found["logme"].append(logme(z, y))
        found["hscore"].append(hscore(z, y))
    return found


def collapsed(seed: int, weight: float, steps: int) -> tuple[NDArray, NDArray]:
    """Features (N, 32) and fine labels of digits, of a network that told coarse classes; all digits in each step."""
    x, y = all_digits()
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.isin(y, torch.randperm(10, generator=generator)[:5]).long()
    shares = F.one_hot(coarse, 2).float() / torch.bincount(coarse)
    body, head = nn.Sequential(perceptron((64, 64, 32), seed), nn.ReLU()), perceptron((32, 2), seed)
    optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], LR)
    for _ in range(steps):
        z = body(x)
        spread = (z - (shares.T @ z)[coarse]).square().sum(dim=1).mean()
        optimizer.zero_grad()
        (F.cross_entropy(head(z), coarse) + weight * spread).backward()
        optimizer.step()
    return features(body, x), y.numpy()


def agreement(pool: list[Transfer]) -> dict[str, float]:
    """Weighted Kendall tau of scores with the accuracy after fine-tuning."""
    scores = {
        "raw TMI": [scaled_tmi(one.before, one.labels).score for one in pool],
        "TMI by RMS": [scaled_tmi(one.before, one.labels, standardize=True).score for one in pool],
        "LogME": [logme(one.before, one.labels) for one in pool],
    }
    truth = [one.accuracy for one in pool]
    return {name: rank_agreement(values, truth)["weighted_kendall"] for name, values in scores.items()}


def ranking_seconds(seed: int) -> float:
    """What `rank_encoders` takes with its default scores."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(IMAGES, 64, generator=generator)
    encoders = {str(number): perceptron((64, WIDTH), number).eval() for number in range(RANKED)}
    labels = torch.randint(10, (IMAGES,), generator=generator).numpy()
    began = time.perf_counter()
    rank_encoders(encoders, images, labels)
    return time.perf_counter() - began
