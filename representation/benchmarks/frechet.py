"""Fréchet distance: how far two samples are apart, as normal distributions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import sqrtm


def frechet_distance(a: NDArray, b: NDArray) -> float:
    """Of the normal distributions that fit two samples (N, D) and (M, D)."""
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(first + second - 2 * sqrtm(first @ second).real))
