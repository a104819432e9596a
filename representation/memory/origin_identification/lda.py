"""`LdaProjection`: the map of origin identification in closed form, to compare with what is learned."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh


class LdaProjection:
    """Directions in which origins differ most, by how much translations differ from their origins.

    The eigenvectors of S_b w = lambda (S_w + eps I) w with the largest lambda; S_w is the scatter of translation minus
    origin, S_b that of the origins.

    Args:
        dim: number of directions.
        eps: what is added to S_w, so that directions without any difference do not count without end.
    """

    def __init__(self, dim: int, eps: float = 1e-3) -> None:
        self.dim, self.eps = dim, eps
        self.weight: NDArray[np.float64] = np.zeros((dim, 0))

    def fit(self, origins: ArrayLike, translations: ArrayLike, origin_of: ArrayLike) -> LdaProjection:
        """Find the directions.

        Args:
            origins: vectors (N, D).
            translations: vectors (M, D).
            origin_of: (M,) row of each one's origin.

        Raises:
            ValueError: fewer numbers than directions.
        """
        before, after = np.asarray(origins, np.float64), np.asarray(translations, np.float64)
        if before.shape[1] < self.dim:
            raise ValueError(f"origins: expected at least {self.dim} numbers, found {before.shape[1]}")
        differences = after - before[np.asarray(origin_of)]
        within = differences.T @ differences / len(differences) + self.eps * np.eye(before.shape[1])
        _, directions = eigh(np.cov(before.T), within)
        self.weight = directions[:, : -self.dim - 1 : -1].T
        return self

    def project(self, vectors: ArrayLike) -> NDArray[np.float64]:
        """Unit vectors (B, dim) of vectors (B, D)."""
        found = np.asarray(vectors, np.float64) @ self.weight.T
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
