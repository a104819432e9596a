"""How much windows' vectors tell, by single numbers: active ones, and the mutual information gap (section 4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import mutual_info_score

from representation.generative.qlae.infomec import mutual_information_gap as gap_of

ACTIVE_VARIANCE = 0.01
BINS = 20


def active_units(mu: ArrayLike) -> int:
    """How many numbers of the vectors (N, D) vary over windows by more than 0.01."""
    return int((np.asarray(mu, np.float64).var(axis=0) > ACTIVE_VARIANCE).sum())


def normalised_information(mu: ArrayLike, factors: ArrayLike, bins: int = BINS) -> NDArray[np.float64]:
    """Mutual information (K, D) of factors and numbers of vectors, as a share of the factor's entropy.

    Args:
        mu: (N, D) vectors; each number is told by `bins` even intervals of its range.
        factors: (N, K) whole numbers.
        bins: intervals.

    Raises:
        ValueError: shapes that do not fit, numbers that are not finite, or a factor of one value.
    """
    vectors, known = np.asarray(mu, np.float64), np.asarray(factors)
    if vectors.ndim != 2 or known.ndim != 2 or len(vectors) != len(known) or not len(vectors):
        raise ValueError(f"mu, factors: expected (N, D) and (N, K), found {vectors.shape} and {known.shape}")
    if not np.isfinite(vectors).all() or known.dtype.kind not in "iub":
        raise ValueError(f"mu, factors: expected finite numbers and whole ones, found {known.dtype} or others")
    still = [place for place, column in enumerate(known.T) if len(np.unique(column)) < 2]
    if still:
        raise ValueError(f"factors: expected several values of each, found one of factor {still[0]}")
    told = [np.digitize(column, np.histogram_bin_edges(column, bins)[1:-1]) for column in vectors.T]
    return np.array([[mutual_info_score(f, column) / mutual_info_score(f, f) for column in told] for f in known.T])


def mutual_information_gap(mu: ArrayLike, factors: ArrayLike, bins: int = BINS) -> float:
    """MIG: by how much the number that tells a factor best tells it better than the next; mean over the factors.

    Arguments and errors as of `normalised_information`; vectors of two numbers and more.
    """
    found = normalised_information(mu, factors, bins)
    return gap_of(found, np.ones(found.shape[1], bool), axis=1)


def by_quantiles(values: ArrayLike, bins: int) -> NDArray[np.int64]:
    """Whole numbers (N,) of numbers (N,), each as frequent as the others."""
    numbers = np.asarray(values, np.float64)
    return np.searchsorted(np.quantile(numbers, np.linspace(0, 1, bins + 1)[1:-1]), numbers, side="right")
