"""`linear_cka`: how alike two sets of features of the same inputs are (Kornblith et al., ICML 2019)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def linear_cka(X: ArrayLike, Y: ArrayLike) -> float:  # noqa: N803 (as in the paper)
    """|Y'X|^2 / (|X'X| |Y'Y|) of centred columns, by Frobenius norms: 1 if a rotation and a scale relate them.

    Args:
        X: features (N, D).
        Y: features (N, E) of the same inputs.

    Raises:
        ValueError: other shapes, numbers that are not finite, or features that are the same for all inputs.
    """
    x, y = np.asarray(X, np.float64), np.asarray(Y, np.float64)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(f"X, Y: expected (N, D) and (N, E), found {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("X, Y: expected finite numbers, found others")
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    # Products of samples are as good as products of columns, and smaller where there are more columns.
    if len(x) < max(x.shape[1], y.shape[1]):
        of_x, of_y = x @ x.T, y @ y.T
        across, own = float((of_x * of_y).sum()), float(np.linalg.norm(of_x) * np.linalg.norm(of_y))
    else:
        across = float(np.linalg.norm(y.T @ x) ** 2)
        own = float(np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    if own == 0:
        raise ValueError("X, Y: expected features that differ between inputs, found the same for all")
    return across / own
