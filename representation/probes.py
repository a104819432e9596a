"""How much a representation tells: k-nearest-neighbour, linear and ridge probes on frozen vectors.

Every probe is fitted on some frames and scored on others, with a 95 % interval by the bootstrap over what is held out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from representation.interface import ProbeResult

RESAMPLES = 1000


def knn_probe(
    train: tuple[NDArray, NDArray],
    test: tuple[NDArray, NDArray],
    name: str,
    neighbours: int = 5,
    temperature: float | None = None,
) -> ProbeResult:
    """Accuracy of the vote of the nearest training vectors, by cosine.

    Args:
        train: vectors (N, D) and labels (N,).
        test: likewise, held out.
        name: of the label.
        neighbours: that vote.
        temperature: by which a vote weighs exp(cosine / temperature); None lets all weigh the same.
    """
    weights = "uniform" if temperature is None else lambda distances: np.exp((1 - distances) / temperature)
    model = KNeighborsClassifier(min(neighbours, len(train[0])), metric="cosine", weights=weights).fit(*train)
    return _scored(f"{name} by {neighbours} neighbours", model.predict(test[0]) == test[1])


def linear_probe(
    train: tuple[NDArray, NDArray], test: tuple[NDArray, NDArray], name: str, strength: float = 1.0
) -> ProbeResult:
    """Accuracy of a logistic regression on standardised vectors; `train`, `test` and `name` as of `knn_probe`."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000)).fit(*train)
    return _scored(f"{name} by a linear probe", model.predict(test[0]) == test[1])


def ridge_probe(
    train: tuple[NDArray, NDArray], test: tuple[NDArray, NDArray], name: str, strength: float = 1.0
) -> ProbeResult:
    """R squared of a ridge regression on standardised vectors, over all entries of (N,) or (N, k) targets."""
    model = make_pipeline(StandardScaler(), Ridge(strength)).fit(*train)
    error = ((model.predict(test[0]).reshape(test[1].shape) - test[1]) ** 2).reshape(len(test[1]), -1).sum(axis=1)
    spread = ((test[1] - test[1].mean(axis=0)) ** 2).reshape(len(test[1]), -1).sum(axis=1)
    rows = _resampled(len(error))
    draws = 1 - error[rows].sum(axis=1) / np.maximum(spread[rows].sum(axis=1), 1e-12)
    low, high = np.percentile(draws, (2.5, 97.5))
    return ProbeResult(f"{name} by ridge regression", float(1 - error.sum() / spread.sum()), float(low), float(high))


def _scored(name: str, hits: NDArray[np.bool_]) -> ProbeResult:
    low, high = np.percentile(hits[_resampled(len(hits))].mean(axis=1), (2.5, 97.5))
    return ProbeResult(name, float(hits.mean()), float(low), float(high))


def _resampled(count: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(0, count, (RESAMPLES, count))
