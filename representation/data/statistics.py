"""Statistics per feature: min, max, mean, std, count and five quantiles, in the layout of LeRobot's `stats.json`.

Numbers are summarised over the frames, entry by entry. Images are summarised channel by channel over all pixels, from
histograms, which makes their statistics exact and their cost independent of the length of an episode.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}

Statistics = dict[str, NDArray[np.float64]]
"""Arrays by name: `min`, `max`, `mean`, `std`, the quantiles (all of one shape) and `count` (1,)."""


def array_statistics(values: NDArray) -> Statistics:
    """Summarise rows of numbers.

    Args:
        values: (N, ...) with N >= 1.

    Returns:
        Arrays of shape (...), and `count` = N.

    Raises:
        ValueError: there are no rows.
    """
    if len(values) == 0:
        raise ValueError("values: expected at least one row, found none")
    rows = np.asarray(values, dtype=np.float64)
    quantiles = np.quantile(rows, list(QUANTILES.values()), axis=0)
    return {
        "min": rows.min(axis=0),
        "max": rows.max(axis=0),
        "mean": rows.mean(axis=0),
        "std": rows.std(axis=0),
        "count": np.array([len(rows)]),
        **dict(zip(QUANTILES, quantiles, strict=True)),
    }


def histogram_statistics(counts: NDArray[np.int64], values: NDArray[np.float64], count: int) -> Statistics:
    """Summarise pixels by their histogram.

    Args:
        counts: (C, L) number of pixels of each channel at each level.
        values: (L,) increasing values of the levels.
        count: what to report as `count`.

    Returns:
        Arrays of shape (C, 1, 1); zeros where a channel has no pixels.
    """
    total = counts.sum(axis=1, keepdims=True)
    weights = counts / np.maximum(total, 1)
    mean = weights @ values
    variance = np.maximum(weights @ values**2 - mean**2, 0.0)
    cumulative = counts.cumsum(axis=1)

    def level_at(fraction: float) -> NDArray[np.float64]:
        # The smallest level with at least this share of the pixels at or below it.
        rank = np.maximum(np.ceil(fraction * total), 1)
        return np.where(total[:, 0] > 0, values[(cumulative < rank).sum(axis=1).clip(max=len(values) - 1)], 0.0)

    flat = {"min": level_at(0.0), "max": level_at(1.0), "mean": mean, "std": np.sqrt(variance)}
    flat |= {name: level_at(fraction) for name, fraction in QUANTILES.items()}
    return {name: value.reshape(-1, 1, 1) for name, value in flat.items()} | {"count": np.array([count])}


def merge_statistics(parts: Sequence[Statistics]) -> Statistics:
    """Statistics of several episodes from the statistics of each.

    Minimum, maximum, mean and standard deviation are exact; a quantile is the mean of the episodes' quantiles weighted
    by their counts, which is an approximation (LeRobot makes the same).

    Args:
        parts: one entry per episode, all of the same shapes.

    Raises:
        ValueError: there are no parts.
    """
    if not parts:
        raise ValueError("parts: expected at least one, found none")
    counts = np.array([float(part["count"][0]) for part in parts])
    weights = counts / max(counts.sum(), 1.0)
    known = [part for part, count in zip(parts, counts, strict=True) if count > 0] or list(parts)

    def mean_of(name: str) -> NDArray[np.float64]:
        return np.tensordot(weights, np.stack([part[name] for part in parts]), axes=1)

    mean = mean_of("mean")
    second = np.stack([part["std"] ** 2 + (part["mean"] - mean) ** 2 for part in parts])
    return {
        "min": np.min([part["min"] for part in known], axis=0),
        "max": np.max([part["max"] for part in known], axis=0),
        "mean": mean,
        "std": np.sqrt(np.tensordot(weights, second, axes=1)),
        "count": np.array([int(counts.sum())]),
        **{name: mean_of(name) for name in QUANTILES},
    }
