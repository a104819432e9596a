"""InfoMEC: whether each latent tells one source, sources are read easily, and few latents tell each (section 4).

Modularity and compactness are of the normalised mutual information of sources and latents, explicitness is the
predictive information of linear readers. All of them are measured on the samples themselves, as in the released code;
with few samples useless latents do not score 0, so tell their number.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import mutual_info_classif
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, mutual_info_score

ACTIVE_SHARE = 20  # a continuous latent of less than a twentieth of the widest range is inactive
ITERATIONS, TOLERANCE = 100, 1e-4


@dataclass(frozen=True)
class InfoMEC:
    """Three scores, 1 at best, and what they were made of.

    Attributes:
        infom: modularity: each latent tells one source alone.
        infoe: explicitness: sources are read linearly.
        infoc: compactness: each source is told by one latent alone.
        nmi: (S, Z) mutual information of source and latent over the entropy of the source; 0 of inactive latents.
        active: (Z,) which latents vary.
    """

    infom: float
    infoe: float
    infoc: float
    nmi: NDArray[np.float64]
    active: NDArray[np.bool_]


def infomec(sources: ArrayLike, latents: ArrayLike, discrete: bool, *, k: int = 10, seed: int = 0) -> InfoMEC:
    """Measure latents.

    Args:
        sources: (N, S) whole numbers.
        latents: (N, Z); whole numbers or scalars of which few differ where they are discrete.
        discrete: whether a latent's values are told apart, and not measured.
        k: neighbours by which the information of continuous latents is estimated.
        seed: of the noise by which that estimator breaks ties.

    Raises:
        ValueError: shapes that do not fit, sources of one value, latents that are not finite, or none that varies.
    """
    s, z = np.asarray(sources), np.asarray(latents, np.float64)
    if s.ndim != 2 or z.ndim != 2 or len(s) != len(z) or not len(s):
        raise ValueError(f"sources, latents: expected (N, S) and (N, Z), found {s.shape} and {z.shape}")
    if not np.isfinite(z).all():
        raise ValueError("latents: expected finite numbers, found others")
    s = np.stack([np.unique(column, return_inverse=True)[1] for column in s.T], axis=1)
    if (s.max(axis=0) == 0).any():
        raise ValueError(f"sources: expected several values of each, found one of source {int(s.max(axis=0).argmin())}")
    reach = np.ptp(z, axis=0)
    active = reach > (0 if discrete else reach.max() / ACTIVE_SHARE)
    if not active.any():
        raise ValueError("latents: expected one that varies, found none")
    nmi = np.zeros((s.shape[1], z.shape[1]))
    for i, source in enumerate(s.T):
        nmi[i, active] = _information(source, z[:, active], discrete, k, seed) / _entropy(source)
    kept = nmi[:, active]
    explicitness = np.mean([_explicitness(source, _read(z, discrete)) for source in s.T])
    return InfoMEC(_dominance(kept, axis=0), float(explicitness), _dominance(kept, axis=1), nmi, active)


def mutual_information_gap(nmi: ArrayLike, active: ArrayLike, axis: int) -> float:
    """Mean difference of the largest and the second largest information.

    Args:
        nmi: (S, Z).
        active: (Z,) which latents count.
        axis: 1 compares the latents of each source, 0 the sources of each latent.

    Raises:
        ValueError: fewer than two to compare.
    """
    kept = np.asarray(nmi, np.float64)[:, np.asarray(active, bool)]
    if kept.shape[axis] < 2:
        raise ValueError(f"nmi: expected two or more along axis {axis}, found {kept.shape[axis]}")
    ordered = np.sort(kept, axis=axis)
    return float((np.take(ordered, -1, axis) - np.take(ordered, -2, axis)).mean())


def _information(source: NDArray, z: NDArray, discrete: bool, k: int, seed: int) -> NDArray[np.float64]:
    """Mutual information (Z,) of a source with latents, nats."""
    if discrete:
        return np.array([mutual_info_score(source, np.unique(column, return_inverse=True)[1]) for column in z.T])
    standard = (z - z.mean(axis=0)) / z.std(axis=0)
    return np.asarray(mutual_info_classif(standard, source, discrete_features=False, n_neighbors=k, random_state=seed))


def _entropy(source: NDArray) -> float:
    shares = np.bincount(source) / len(source)
    return float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())


def _dominance(nmi: NDArray, axis: int) -> float:
    """Mean share of the largest information along an axis, 0 where all are equal and 1 where there is one alone."""
    count = nmi.shape[axis]
    if count == 1:
        return 1.0
    sums = nmi.sum(axis=axis)
    shares = np.divide(nmi.max(axis=axis), sums, out=np.full_like(sums, 1 / count), where=sums > 0)
    return float((shares.mean() - 1 / count) / (1 - 1 / count))


def _read(z: NDArray, discrete: bool) -> NDArray[np.float64]:
    """What linear readers take of latents: one-hot vectors of values, or standardised numbers."""
    if discrete:
        return np.concatenate([np.unique(c)[None] == c[:, None] for c in z.T], axis=1).astype(np.float64)
    spread = z.std(axis=0)
    return (z - z.mean(axis=0)) / np.where(spread > 0, spread, 1.0)


def _explicitness(source: NDArray, read: NDArray) -> float:
    """Share of a balanced source's entropy that a linear reader takes away."""
    reader = LogisticRegression(C=np.inf, class_weight="balanced", tol=TOLERANCE, max_iter=ITERATIONS)
    shares = np.bincount(source)
    weights = (len(source) / (len(shares) * shares))[source]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the released protocol stops there
        found = reader.fit(read, source).predict_proba(read)
    blind = np.log(len(shares))
    return float((blind - log_loss(source, found, sample_weight=weights)) / blind)
