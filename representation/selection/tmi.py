"""TMI: how much room an encoder leaves for a task, by how far the features of each class are spread.

Features of a class that fell together in pretraining leave nothing to adapt. The spread is the conditional differential
entropy H(Z|Y), in nats, estimated by nearest neighbours within each class; a higher score means more transferable.

Source: Fast and Accurate Transferability Measurement by Evaluating Intra-class Feature Variance, Xu and Kang, ICCV 2023
(arXiv 2308.05986). Takes features (N, d) of labelled samples, and their labels (N,); gives a number, and what it was
made of. `ranking.rank_encoders` scores encoders by it and by others, `rank_agreement` compares scores with the truth.

The score grows with the scale of features (by d / C log s where they are multiplied by s) and with their number d, so
within one pool it may rank by these alone: `TMIResult` tells the scale, `standardize="rms"` takes it out, and
`per_dimension` divides by d. The default `min_dist=1.0` is made for features of ImageNet networks; distances below it
count as 1.0, which is most of them where vectors have unit length, and is warned of.

Decided here: with Euclidean distances the estimator takes log ε and the volume of the ball (the released code takes log
2ε with it, d log 2 too much); a class with one sample has entropy 0, as in the released code; labels may have gaps.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from scipy.special import digamma, gammaln

from representation.selection.labelled_features import labelled_features

Norm = Literal["max", "euclidean"]
WARN_CLAMPED = 0.5  # share of the distances


@dataclass(frozen=True)
class TMIResult:
    """A score and what it was made of.

    Attributes:
        score: higher for what transfers better.
        per_class: entropies (C,), nats; infinite for classes that were left out.
        clamped_fraction: share of the neighbours' distances that were below `min_dist` and taken as that.
        rms: root mean square of the entries of the centred features, before they were divided by it.
        dropped_classes: labels of classes with too few samples for k neighbours.
    """

    score: float
    per_class: NDArray[np.float64]
    clamped_fraction: float
    rms: float
    dropped_classes: tuple


def _entropies(
    x: NDArray[np.float64], classes: NDArray[np.int64], k: int, norm: Norm, min_dist: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Entropy (C,) and share (C,) of each class, and the share of clamped distances."""
    if k < 1 or min_dist < 0 or norm not in ("max", "euclidean"):
        found = f"{k}, {min_dist} and {norm!r}"
        raise ValueError(f"k, min_dist, norm: expected at least 1, at least 0, and max or euclidean, found {found}")
    d, count = x.shape[1], int(classes.max()) + 1
    volume = d * np.log(2) if norm == "max" else d / 2 * np.log(np.pi) - gammaln(d / 2 + 1)
    entropy, clamped, measured = np.zeros(count), 0, 0
    for c in range(count):
        own = x[classes == c]
        if len(own) == 1:
            continue
        if len(own) <= k:
            entropy[c] = np.inf
            continue
        distances = cKDTree(own).query(own, [k + 1], p=np.inf if norm == "max" else 2)[0][:, 0]
        clamped, measured = clamped + int((distances < min_dist).sum()), measured + len(own)
        distances = np.maximum(distances, min_dist)
        if not distances.all():
            raise ValueError(f"min_dist: expected more than 0 where samples of a class are equal, found {min_dist}")
        entropy[c] = digamma(len(own)) - digamma(k) + volume + d * np.log(distances).mean()
    if not measured:
        raise ValueError(f"labels: expected a class with more than k = {k} samples, found {np.bincount(classes).max()}")
    return entropy, np.bincount(classes) / len(x), clamped / measured


@overload
def conditional_entropy_knn(
    z: ArrayLike, y: ArrayLike, k: int = ..., norm: Norm = ..., min_dist: float = ..., per_class: Literal[False] = ...
) -> float: ...


@overload
def conditional_entropy_knn(
    z: ArrayLike, y: ArrayLike, k: int = ..., norm: Norm = ..., min_dist: float = ..., *, per_class: Literal[True]
) -> tuple[float, NDArray[np.float64]]: ...


def conditional_entropy_knn(
    z: ArrayLike, y: ArrayLike, k: int = 3, norm: Norm = "max", min_dist: float = 1.0, per_class: bool = False
) -> float | tuple[float, NDArray[np.float64]]:
    """Differential entropy H(Z|Y) in nats, by the estimator of Kozachenko and Leonenko in each class.

    Args:
        z: features (N, d).
        y: labels (N,); one class is enough.
        k: which neighbour of the same class is measured.
        norm: of the distances.
        min_dist: smallest distance; lower ones are taken as this.
        per_class: whether to give the entropy of each class too.

    Returns:
        The entropies of classes weighted by their shares of the samples. Classes with 2 to k samples are left out of
        the sum, and infinite in the entropies (C,) of classes.

    Raises:
        ValueError: see `labelled_features`; no class with more than k samples; or equal samples and a `min_dist` of 0.
    """
    x, classes, _ = labelled_features(z, y, least_classes=1)
    entropy, share, _ = _entropies(x, classes, k, norm, min_dist)
    kept = np.isfinite(entropy)
    total = float(share[kept] @ entropy[kept])
    return (total, entropy) if per_class else total


def tmi_score(
    z: ArrayLike,
    y: ArrayLike,
    k: int = 3,
    min_dist: float = 1.0,
    standardize: Literal["none", "rms"] = "none",
    aggregate: Literal["mean", "sum"] = "mean",
    per_dimension: bool = False,
) -> TMIResult:
    """The score of features.

    Args:
        z: features (N, d).
        y: labels (N,) of at least two classes.
        k: which neighbour of the same class is measured, by the largest difference of any entry.
        min_dist: smallest distance, after the features were standardised.
        standardize: whether the centred features are divided by the root mean square of their entries.
        aggregate: whether entropies of classes, weighted by their share of the samples, are averaged over the classes
            that are not left out, as the paper does, or summed, which is H(Z|Y).
        per_dimension: whether the score is divided by d.

    Raises:
        ValueError: as of `conditional_entropy_knn`; one class only; or equal features where they are standardised.

    Warns:
        UserWarning: most distances are below `min_dist`, so that the score says little.
    """
    if standardize not in ("none", "rms") or aggregate not in ("mean", "sum"):
        found = f"{standardize!r} and {aggregate!r}"
        raise ValueError(f"standardize, aggregate: expected none or rms, and mean or sum, found {found}")
    x, classes, names = labelled_features(z, y)
    x -= x.mean(axis=0)
    rms = float(np.sqrt(np.mean(x**2)))
    if standardize == "rms":
        if rms == 0:
            raise ValueError("features: expected some that differ, found all equal")
        x /= rms
    entropy, share, clamped = _entropies(x, classes, k, "max", min_dist)
    if clamped > WARN_CLAMPED:
        warnings.warn(
            f"tmi_score: {clamped:.0%} of the distances are below min_dist = {min_dist:g}; the features' root mean "
            f"square is {rms:.3g}. Choose min_dist by it, or standardize",
            stacklevel=2,
        )
    kept = np.isfinite(entropy)
    score = float(share[kept] @ entropy[kept])
    score /= (kept.sum() if aggregate == "mean" else 1) * (x.shape[1] if per_dimension else 1)
    return TMIResult(float(score), entropy, clamped, rms, tuple(names[~kept].tolist()))
