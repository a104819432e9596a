"""SFDA: how sure a regularised discriminant is of the right classes, once features that it told with ease were mixed.

Source: Not All Models Are Equal: Predicting Model Transferability in a Self-challenging Fisher Space, Shao et al., ECCV
2022 (arXiv 2207.03036).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import softmax

from representation.selection.labelled_features import class_means, labelled_features

DOUBLE_ITERATIONS, STEEPNESS, LEAST_SHRINKAGE = 3, 5.0, 1e-10


def sfda(X: ArrayLike, y: ArrayLike) -> float:  # noqa: N803
    """Mean probability of the right class, in (0, 1]; higher for what transfers better.

    A first discriminant tells classes; every sample, more so the less sure it is, is mixed with the mean of the means
    of the other classes; a second discriminant with the same shrinkage is fitted to that and asked.

    Args:
        X: features (N, d); left as they are.
        y: labels (N,) of at least two classes.

    Raises:
        ValueError: see `labelled_features`; or features that do not differ within classes.
    """
    x, classes, names = labelled_features(X, y)
    shrinkage = _shrinkage(_within(x, classes))
    own = np.arange(len(x)), classes
    sure = softmax(_discriminant(x, classes, shrinkage), axis=1)[own][:, None]
    means = class_means(x, classes)
    others = (means.sum(axis=0) - means) / (len(names) - 1)
    mixed = sure * x + (1 - sure) * others[classes]
    return float(_discriminant(mixed, classes, shrinkage)[own].mean())


def _within(x: NDArray[np.float64], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Covariance (d, d) within classes, each weighted by its share."""
    centred = x - class_means(x, classes)[classes]
    return centred.T @ centred / len(x)


def _shrinkage(scatter: NDArray[np.float64]) -> float:
    """exp(-5 l) of the largest eigenvalue l, as a few power iterations from the sums of rows find it."""
    left = right = scatter.sum(axis=1)
    for _ in range(DOUBLE_ITERATIONS):
        right = scatter @ left
        right = right / max(np.linalg.norm(right), np.finfo(float).tiny)
        left = scatter @ right
        left = left / max(np.linalg.norm(left), np.finfo(float).tiny)
    return max(float(np.exp(-STEEPNESS * (left @ scatter @ right))), LEAST_SHRINKAGE)


def _discriminant(x: NDArray[np.float64], classes: NDArray[np.int64], shrinkage: float) -> NDArray[np.float64]:
    """Probabilities (N, C) of a Fisher discriminant.

    The generalised eigenvectors E of the scatter between and within classes, all together, give E Eᵀ = S_w⁻¹, whatever
    the scatter between them is, so they are not computed.
    """
    scatter, means = _within(x, classes), class_means(x, classes)
    d = len(scatter)
    scatter = (1 - shrinkage) * scatter + shrinkage * np.trace(scatter) / d * np.eye(d)
    try:
        coefficients = cho_solve(cho_factor(scatter), means.T).T
    except np.linalg.LinAlgError as error:
        raise ValueError(f"features: expected some that differ within classes in all of {d} numbers: {error}") from None
    intercept = -0.5 * (means * coefficients).sum(axis=1) + np.log(np.bincount(classes) / len(x))
    return softmax(x @ coefficients.T + intercept, axis=1)
