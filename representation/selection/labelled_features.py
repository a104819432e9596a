"""`labelled_features`: what every score of encoders takes, checked."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def labelled_features(
    features: ArrayLike, labels: ArrayLike, least_classes: int = 2
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray]:
    """Features and their classes.

    Args:
        features: (N, d).
        labels: (N,) of any kind that can be sorted; gaps in their numbers do not matter.
        least_classes: how many there must be.

    Returns:
        A copy of the features (N, d) in float64; classes (N,) from 0 to C - 1; the label (C,) of each class.

    Raises:
        ValueError: other shapes, values that are not finite, too few classes, or no class with two samples.
    """
    x, y = np.array(features, np.float64), np.asarray(labels)
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"features: expected (N, d) with N and d above 0, found {x.shape}")
    if y.shape != (len(x),):
        raise ValueError(f"labels: expected ({len(x)},), one of each sample, found {y.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"features: expected finite numbers, found {int((~np.isfinite(x)).sum())} others")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise ValueError(f"labels: expected finite numbers, found {int((~np.isfinite(y)).sum())} others")
    names, classes = np.unique(y, return_inverse=True)
    if len(names) < least_classes:
        raise ValueError(f"labels: expected at least {least_classes} classes, found {names.tolist()}")
    if len(names) == len(x) and least_classes > 1:
        raise ValueError(f"labels: expected fewer classes than samples, found {len(names)} of {len(x)}")
    return x, classes.reshape(-1).astype(np.int64), names


def class_means(x: NDArray[np.float64], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Means (C, d) of the classes 0 to C - 1 of features (N, d)."""
    one_hot = np.eye(int(classes.max()) + 1)[classes]
    return one_hot.T @ x / one_hot.sum(axis=0)[:, None]
