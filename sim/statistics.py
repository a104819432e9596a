"""The statistics of a report: intervals of success rates, paired tests of two runs, percentiles of latencies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

BOOTSTRAP_RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class McNemar:
    """Exact McNemar test of paired binary outcomes.

    Attributes:
        only_first: number of pairs in which only the first succeeded.
        only_second: number of pairs in which only the second succeeded.
        p_value: two-sided, 1 when no pair disagrees.
    """

    only_first: int
    only_second: int
    p_value: float


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a success probability (Wilson, JASA 1927), without continuity correction.

    Raises:
        ValueError: no trials, or more successes than trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(
            f"successes, trials: expected 0 <= successes <= trials and trials >= 1, found {successes}, {trials}"
        )
    low, high = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return Interval(float(low), float(high))


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """Test whether two runs of the same episodes have the same success probability.

    Exact form: among the pairs that disagree, either direction has probability 1/2 (McNemar, Psychometrika 1947).

    Args:
        first: (N,) outcomes of the first run.
        second: (N,) outcomes of the second run on the same episodes.
    """
    a, b = _paired(first, second, bool)
    only_first, only_second = int((a & ~b).sum()), int((b & ~a).sum())
    disagreements = only_first + only_second
    p_value = float(binomtest(only_first, disagreements).pvalue) if disagreements else 1.0
    return McNemar(only_first, only_second, p_value)


def bootstrap_difference(
    first: ArrayLike, second: ArrayLike, rng: np.random.Generator, confidence: float = 0.95
) -> Interval:
    """Percentile bootstrap interval of mean(second) - mean(first), resampling the pairs.

    Args:
        first: (N,) values of the first run.
        second: (N,) values of the second run on the same episodes.
        rng: draws the resamples.
        confidence: probability that the interval is meant to cover.
    """
    a, b = _paired(first, second, float)
    difference = b - a
    # A multinomial draw says how often each pair occurs in a resample: the same as drawing indices, in less memory.
    weights = rng.multinomial(len(difference), np.full(len(difference), 1 / len(difference)), BOOTSTRAP_RESAMPLES)
    means = weights @ difference / len(difference)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def percentiles(samples: ArrayLike) -> dict[str, float] | None:
    """Return `p50`, `p95` and `p99` of `samples`, in their unit; None where there are no samples."""
    values = np.asarray(samples, dtype=np.float64)
    if values.size == 0:
        return None
    return {f"p{q}": float(np.percentile(values, q)) for q in (50, 95, 99)}


def _paired(first: ArrayLike, second: ArrayLike, dtype: type) -> tuple[NDArray, NDArray]:
    a, b = np.asarray(first, dtype=dtype), np.asarray(second, dtype=dtype)
    if a.shape != b.shape or a.ndim != 1 or len(a) == 0:
        raise ValueError(f"paired samples: expected two equal lengths >= 1, found shapes {a.shape} and {b.shape}")
    return a, b
