"""`MessageForest`: labels of messages by a random forest."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.ensemble import RandomForestClassifier

TREES = 100


class MessageForest:
    """A random forest of 100 trees on which symbol stands where.

    Args:
        vocab_size: number V of symbols.
        seed: of the trees.
    """

    def __init__(self, vocab_size: int, seed: int = 0) -> None:
        self._vocab_size, self._forest = vocab_size, RandomForestClassifier(TREES, random_state=seed)

    def fit(self, ids: ArrayLike, labels: ArrayLike) -> MessageForest:
        """Learn from messages (N, L) with labels (N,)."""
        self._forest.fit(self._positions(ids), labels)
        return self

    def predict(self, ids: ArrayLike) -> NDArray:
        """Labels (N,) of messages (N, L)."""
        return self._forest.predict(self._positions(ids))

    def _positions(self, ids: ArrayLike) -> NDArray[np.float32]:
        symbols = np.asarray(ids)
        return np.eye(self._vocab_size, dtype=np.float32)[symbols].reshape(len(symbols), -1)
