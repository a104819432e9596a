"""LogME: how likely labels are under a Bayesian linear model of the features, with the best precisions.

Source: LogME: Practical Assessment of Pre-trained Models for Transfer Learning, You et al., ICML 2021
(arXiv 2102.11005), with the fixed-point iteration of its later version.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from representation.selection.labelled_features import labelled_features

ITERATIONS, TOLERANCE, EPSILON = 11, 1e-3, 1e-5
SMALLEST = 1e-10  # singular value that is kept


def logme(X: ArrayLike, y: ArrayLike, released: bool = False) -> float:  # noqa: N803
    """Log evidence of the one-hot labels per sample and class, nats; higher for what transfers better.

    The features are not centred. The released code counts the first precision for all d numbers of a feature, and the
    determinant for those alone that are not zero on the samples, which is no evidence where samples are fewer than d,
    or numbers are always zero: wide features then win by their width.

    Args:
        X: features (N, d).
        y: labels (N,) of at least two classes.
        released: whether to count as the released code does, to compare with published figures.

    Raises:
        ValueError: see `labelled_features`; or features that are all zero.
    """
    x, classes, names = labelled_features(X, y)
    left, spectrum = _decomposed(x)
    if not len(spectrum):
        raise ValueError("features: expected some that are not zero, found none")
    count = x.shape[1] if released else len(spectrum)
    targets = np.eye(len(names))[classes].T
    return float(np.mean([_evidence(left, spectrum, target, count) for target in targets]))


def _decomposed(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Left singular vectors (N, r) and squared singular values (r,) that are not zero."""
    if len(x) <= x.shape[1]:
        left, values, _ = np.linalg.svd(x, full_matrices=False)
        kept = values > max(SMALLEST, values[0] * len(x) * np.finfo(float).eps)
        return left[:, kept], values[kept] ** 2
    squares, right = np.linalg.eigh(x.T @ x)
    kept = squares > max(SMALLEST**2, squares[-1] * len(x) * np.finfo(float).eps)
    return x @ right[:, kept] / np.sqrt(squares[kept]), squares[kept]


def _evidence(left: NDArray[np.float64], spectrum: NDArray[np.float64], t: NDArray[np.float64], count: int) -> float:
    n, squares = len(t), (left.T @ t) ** 2
    rest = max(float(t @ t - squares.sum()), 0.0)
    alpha = beta = 1.0
    for _ in range(ITERATIONS):
        ratio = alpha / beta
        gamma = float((spectrum / (spectrum + ratio)).sum())
        weights = float((spectrum * squares / (ratio + spectrum) ** 2).sum())
        residual = float((squares / (1 + spectrum / ratio) ** 2).sum()) + rest
        alpha, beta = gamma / (weights + EPSILON), (n - gamma) / (residual + EPSILON)
        if abs(alpha / beta - ratio) / ratio <= TOLERANCE:
            break
    evidence = count / 2 * np.log(alpha) + n / 2 * np.log(beta) - 0.5 * np.log(alpha + beta * spectrum).sum()
    return float(evidence - beta / 2 * residual - alpha / 2 * weights - n / 2 * np.log(2 * np.pi)) / n
