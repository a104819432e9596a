"""NLEEP: how well clusters of the features tell classes.

Source: Ranking Neural Checkpoints, Li et al., CVPR 2021 (arXiv 2011.11200).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from representation.selection.labelled_features import labelled_features

ENERGY = 0.8  # of the variance, kept by the principal components


def nleep(X: ArrayLike, y: ArrayLike, components_per_class: int = 5, seed: int = 0) -> float:  # noqa: N803
    """Mean probability of the right class by the clusters of a sample, in (0, 1]; higher for what transfers better.

    Clusters are those of a mixture of Gaussians with full covariances on the first principal components.

    Args:
        X: features (N, d).
        y: labels (N,) of at least two classes.
        components_per_class: Gaussians, as a multiple of the classes; 5 in the paper, 1 where there are many.
        seed: of where the mixture begins.

    Raises:
        ValueError: see `labelled_features`; fewer samples than Gaussians; or equal features.
    """
    x, classes, names = labelled_features(X, y)
    components = components_per_class * len(names)
    if not 1 <= components <= len(x):
        raise ValueError(f"components_per_class: expected 1 to {len(x) // len(names)}, found {components_per_class}")
    if np.ptp(x, axis=0).max() == 0:
        raise ValueError("features: expected some that differ, found all equal")
    reduced = PCA(ENERGY, svd_solver="full").fit_transform(x)
    clusters = (
        GaussianMixture(components, covariance_type="full", random_state=seed).fit(reduced).predict_proba(reduced)
    )
    one_hot = np.eye(len(names))[classes]
    given = clusters.T @ one_hot / np.maximum(clusters.sum(axis=0), np.finfo(float).tiny)[:, None]
    return float((clusters @ given)[np.arange(len(x)), classes].mean())
