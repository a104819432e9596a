"""What a language is like: how many messages there are, how evenly symbols are used, and what they have to do with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist
from scipy.stats import entropy, spearmanr
from sklearn.metrics import normalized_mutual_info_score

MOST_COMPARED = 500  # messages whose pairs are compared


def language_stats(ids: ArrayLike, labels: ArrayLike | None, features: ArrayLike | None) -> dict[str, Any]:
    """Figures of messages.

    Args:
        ids: messages (N, L).
        labels: (N,) classes; None if they are not known.
        features: (N, D) vectors of what the messages are about; None if there are none.

    Returns:
        `distinct`, number of different messages; `entropy`, bits at each position; with labels `nmi`, the normalised
        mutual information of message and class; with features `topographic_similarity`, the rank correlation of the
        distances of features and the edit distances of messages, over all pairs of the first 500.
    """
    messages = np.asarray(ids)
    kinds, which = np.unique(messages, axis=0, return_inverse=True)
    positions = [entropy(np.unique(column, return_counts=True)[1], base=2) for column in messages.T]
    found: dict[str, Any] = {"distinct": len(kinds), "entropy": [float(bits) for bits in positions]}
    if labels is not None:
        found["nmi"] = float(normalized_mutual_info_score(np.asarray(labels), which.ravel()))
    if features is not None:
        some = messages[:MOST_COMPARED]
        first, second = np.triu_indices(len(some), k=1)
        apart, edits = pdist(np.asarray(features)[:MOST_COMPARED]), edit_distances(some[first], some[second])
        alike = np.ptp(apart) == 0 or np.ptp(edits) == 0  # then there is no correlation
        found["topographic_similarity"] = 0.0 if alike else float(spearmanr(apart, edits).statistic)
    return found


def edit_distances(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """Insertions, deletions and exchanges (P,) that turn each message of (P, L) into that of (P, M)."""
    row = np.tile(np.arange(b.shape[1] + 1), (len(a), 1))
    for i in range(a.shape[1]):
        before, row = row, np.empty_like(row)
        row[:, 0] = i + 1
        for j in range(b.shape[1]):
            exchanged = before[:, j] + (a[:, i] != b[:, j])
            row[:, j + 1] = np.minimum(exchanged, 1 + np.minimum(before[:, j + 1], row[:, j]))
    return row[:, -1]
