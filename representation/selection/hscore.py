"""H-score: how much of the variance of features is between classes.

Source: An Information-Theoretic Approach to Transferability in Task Transfer Learning, Bao et al., ICIP 2019
(arXiv 2212.10082). The covariance is shrunk by the rule of Ledoit and Wolf, since samples are few.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.covariance import ledoit_wolf

from representation.selection.labelled_features import class_means, labelled_features


def hscore(X: ArrayLike, y: ArrayLike) -> float:  # noqa: N803
    """tr(cov(Z)⁻¹ cov(E[Z|Y])), at most C - 1 without shrinkage; higher for what transfers better.

    Args:
        X: features (N, d).
        y: labels (N,) of at least two classes.

    Raises:
        ValueError: see `labelled_features`; or equal features.
    """
    x, classes, _ = labelled_features(X, y)
    if np.ptp(x, axis=0).max() == 0:
        raise ValueError("features: expected some that differ, found all equal")
    x -= x.mean(axis=0)
    means = class_means(x, classes)[classes]
    return float(np.trace(np.linalg.solve(ledoit_wolf(x, assume_centered=True)[0], means.T @ means / len(x))))
