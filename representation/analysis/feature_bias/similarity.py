"""How alike the representations of two networks are: by dissimilarities, by CKA, and by regression."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist
from scipy.stats import pearsonr, spearmanr

from representation.analysis.feature_bias.variance import checked_activations, variance_explained


def rsa(
    first: ArrayLike,
    second: ArrayLike,
    metric: Literal["euclidean", "cosine"] = "euclidean",
    method: Literal["spearman", "pearson"] = "spearman",
) -> float:
    """Correlation of the dissimilarities of all pairs of rows.

    Args:
        first: activations (N, m) of one network.
        second: (N, k) of another one, of the same inputs.
        metric: of two rows.
        method: by which dissimilarities are correlated.

    Raises:
        ValueError: other lengths, fewer than 3 rows, rows that are all alike, or an unknown metric or method.
    """
    a, b = _both(first, second)
    if metric not in ("euclidean", "cosine") or method not in ("spearman", "pearson"):
        raise ValueError(f"metric, method: expected euclidean or cosine, spearman or pearson, found {metric}, {method}")
    far = pdist(a, metric), pdist(b, metric)
    for name, distances in zip(("first", "second"), far, strict=True):
        if not np.isfinite(distances).all() or np.ptp(distances) == 0:
            raise ValueError(f"{name}: expected rows of different distances, found alike or zero ones")
    return float((spearmanr if method == "spearman" else pearsonr)(*far).statistic)


def linear_cka(first: ArrayLike, second: ArrayLike) -> float:
    """Linear centred kernel alignment of activations (N, m) and (N, k), in [0, 1]; 1 for a rotation and a scale."""
    a, b = (one - one.mean(axis=0) for one in _both(first, second))
    own = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    if own == 0:
        raise ValueError("activations: expected some variance, found equal rows")
    return float(np.square(a.T @ b).sum() / own)


def regression_similarity(first: ArrayLike, second: ArrayLike) -> float:
    """Share of the variance of `second` (N, k) that a linear map of `first` (N, m) explains; N far above m."""
    a, b = _both(first, second)
    return float(variance_explained(b, {"first": a}, joint=False).per_factor["first"])


def _both(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = checked_activations(first, "first"), checked_activations(second, "second")
    if len(a) != len(b) or len(a) < 3:
        raise ValueError(f"first, second: expected as many rows, at least 3, found {len(a)} and {len(b)}")
    return a, b
