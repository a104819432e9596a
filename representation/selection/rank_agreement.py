"""`rank_agreement`: how well scores of encoders agree with what they reach after fine-tuning."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import kendalltau, pearsonr, weightedtau


def rank_agreement(scores: ArrayLike, accuracies: ArrayLike) -> dict[str, float]:
    """Measures of agreement over M encoders.

    Args:
        scores: (M,), higher for what is said to be better.
        accuracies: (M,), the truth.

    Returns:
        `kendall`; `weighted_kendall`, in which the best count most (weight 1 / (rank + 1), ranks by both in turn), as
        in papers of such scores; `pearson`; and `top1_regret`, how much worse than the best is what the score ranks
        first. Correlations are nan where all scores, or all accuracies, are equal; of several first ones, the mean.

    Raises:
        ValueError: fewer than two, different counts, or numbers that are not finite.
    """
    x, y = np.asarray(scores, np.float64), np.asarray(accuracies, np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 2:
        raise ValueError(f"scores, accuracies: expected (M,) of at least 2 encoders each, found {x.shape}, {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(f"scores, accuracies: expected finite numbers, found {x.tolist()} and {y.tolist()}")
    regret = float(y.max() - y[x == x.max()].mean())
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return {"kendall": np.nan, "weighted_kendall": np.nan, "pearson": np.nan, "top1_regret": regret}
    return {
        "kendall": float(kendalltau(x, y).statistic),
        "weighted_kendall": float(weightedtau(x, y).statistic),
        "pearson": float(pearsonr(x, y).statistic),
        "top1_regret": regret,
    }


def chance_agreement(accuracies: ArrayLike, seed: int, draws: int = 1000) -> tuple[float, float]:
    """Weighted Kendall tau of random rankings with the truth: their mean, and what one in twenty of them exceeds.

    Args:
        accuracies: (M,), the truth.
        seed: of the rankings.
        draws: how many.
    """
    rng, truth = np.random.default_rng(seed), np.asarray(accuracies)
    found = [weightedtau(rng.permutation(len(truth)), truth).statistic for _ in range(draws)]
    return float(np.mean(found)), float(np.quantile(found, 0.95))
