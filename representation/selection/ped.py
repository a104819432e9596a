"""PED: features after their classes pushed each other apart, as fine-tuning would, for any score of features.

Scores such as LogME see features as they are, and rank encoders badly that learned without labels, since fine-tuning
will move their classes. Here every class is a ball; those that overlap repel each other, a few small steps are taken,
and the score is computed of the moved features.

Source: Exploring Model Transferability through the Lens of Potential Energy, Li et al., ICCV 2023 (arXiv 2308.15074).
Takes features (N, d) with labels (N,), and features (M, d) of the same encoder of frames of any kind, by which the
numbers of a feature are brought to one scale; gives moved features (N, d). `score_with_ped` scores them by `logme`,
`sfda` or `nleep`.

Decided here: variances are those of the population; classes whose means are equal do not push each other; energies and
shifts are those of rescaled features. In many dimensions all balls overlap, since radii grow with their number, and
`nsigma` decides what happens. Without general features the labelled ones serve, and `PEDResult.reference` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from representation.selection.labelled_features import class_means, labelled_features
from representation.selection.logme import logme
from representation.selection.nleep import nleep
from representation.selection.sfda import sfda

LEAST_STD = 1e-3
BASES = {"logme": logme, "sfda": sfda, "nleep": nleep}


@dataclass(frozen=True)
class PEDResult:
    """Moved features.

    Attributes:
        features: (N, d), in the scale of the given ones.
        shifts: (S, C, d) of each class in each step, rescaled.
        energies: (S + 1,) of the overlaps before each step and at the end, rescaled.
        n_steps: S, how many steps were taken.
        reference: by which features numbers were rescaled: general ones, or the labelled features themselves.
    """

    features: NDArray[np.float64]
    shifts: NDArray[np.float64]
    energies: NDArray[np.float64]
    n_steps: int
    reference: Literal["general", "labelled"]


def overlap_energy(X: ArrayLike, y: ArrayLike, nsigma: float = 0.6, k: float = 1.0) -> float:  # noqa: N803
    """Potential energy ½ Σ k F² over pairs of classes with overlaps F, whose forces push them apart.

    Args:
        X: features (N, d), taken as they are.
        y: labels (N,) of at least two classes.
        nsigma: radius of a class, in its standard deviations over all numbers.
        k: stiffness.

    Raises:
        ValueError: see `labelled_features`.
    """
    x, classes, _ = labelled_features(X, y)
    _, overlaps = _overlaps(x, classes, nsigma)
    return float(k * np.triu(overlaps**2, 1).sum() / 2)


def ped_step(
    X: ArrayLike,  # noqa: N803
    y: ArrayLike,
    ref_mean: ArrayLike,
    ref_std: ArrayLike,
    dt: float = 0.1,
    nsigma: float = 0.6,
    k: float = 1.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """One step of all classes.

    Args:
        X: features (N, d).
        y: labels (N,) of at least two classes.
        ref_mean: (d,) or a number; subtracted before.
        ref_std: (d,) or a number; divided by, and at least `LEAST_STD`.
        dt: how long the force acts.
        nsigma: radius of a class, in its standard deviations over all numbers.
        k: stiffness. A pair moves by ½ dt² k of its overlap, but at most by the overlap, each of the two.

    Returns:
        Moved features (N, d), in the scale of the given ones; shift (C, d) of each class, rescaled; and the energy of
        the overlaps before the step, rescaled.

    Raises:
        ValueError: see `labelled_features`; or options that are not above 0.
    """
    if min(dt, nsigma, k) <= 0:
        raise ValueError(f"dt, nsigma, k: expected more than 0, found {dt}, {nsigma} and {k}")
    x, classes, _ = labelled_features(X, y)
    mean, std = np.asarray(ref_mean, np.float64), np.maximum(np.asarray(ref_std, np.float64), LEAST_STD)
    for name, value in (("ref_mean", mean), ("ref_std", std)):
        if value.shape not in ((), (x.shape[1],)) or not np.isfinite(value).all():
            raise ValueError(f"{name}: expected a finite number or ({x.shape[1]},) of them, found {value.shape}")
    x = (x - mean) / std
    distances, overlaps = _overlaps(x, classes, nsigma)
    lengths = np.minimum(0.5 * dt**2 * k * overlaps, overlaps)
    weights = np.divide(lengths, distances, out=np.zeros_like(lengths), where=distances > 0)
    means = class_means(x, classes)
    shifts = weights.sum(axis=1)[:, None] * means - weights @ means
    energy = float(k * np.triu(overlaps**2, 1).sum() / 2)
    return (x + shifts[classes]) * std + mean, shifts, energy


def potential_energy_descent(
    X: ArrayLike,  # noqa: N803
    y: ArrayLike,
    general: ArrayLike | None = None,
    dt: float = 0.1,
    nsigma: float = 0.6,
    exit_ratio: float = 0.5,
    max_steps: int = 6,
) -> PEDResult:
    """Let classes push each other apart until a step moves them by little more than half of the first one.

    Args:
        X: features (N, d).
        y: labels (N,) of at least two classes.
        general: features (M, d) of the same encoder of frames of any kind; without them, X.
        dt: see `ped_step`.
        nsigma: see `ped_step`.
        exit_ratio: a step is not taken, and is the last, whose change is no more than this share of the first one's.
        max_steps: that are taken at most.

    Raises:
        ValueError: see `ped_step`; or general features with other numbers or values that are not finite.
    """
    x, classes, _ = labelled_features(X, y)
    reference = x if general is None else np.asarray(general, np.float64)
    if reference.ndim != 2 or reference.shape[1] != x.shape[1] or not len(reference):
        raise ValueError(f"general: expected (M, {x.shape[1]}), found {reference.shape}")
    if not np.isfinite(reference).all():
        raise ValueError("general: expected finite numbers, found others")
    mean, std = reference.mean(axis=0), np.maximum(reference.std(axis=0), LEAST_STD)
    shifts, energies, first = [], [], 0.0
    for step in range(max_steps):
        moved, shift, energy = ped_step(x, classes, mean, std, dt, nsigma)
        change = float(np.abs(shift).sum())
        first = change if step == 0 else first
        if change <= exit_ratio * first:
            break
        x = moved
        shifts.append(shift)
        energies.append(energy)
    energies.append(overlap_energy((x - mean) / std, classes, nsigma))
    return PEDResult(
        x,
        np.array(shifts).reshape(len(shifts), int(classes.max()) + 1, x.shape[1]),
        np.array(energies),
        len(shifts),
        "labelled" if general is None else "general",
    )


def score_with_ped(X: ArrayLike, y: ArrayLike, general: ArrayLike | None = None, base: str = "logme") -> float:  # noqa: N803
    """A score of the moved features.

    Args:
        X: features (N, d).
        y: labels (N,) of at least two classes.
        general: see `potential_energy_descent`.
        base: name of the score, in `BASES`.

    Raises:
        ValueError: see `potential_energy_descent` and the score; or no such score.
    """
    if base not in BASES:
        raise ValueError(f"base: expected one of {', '.join(BASES)}, found {base!r}")
    return BASES[base](potential_energy_descent(X, y, general).features, y)


def _overlaps(
    x: NDArray[np.float64], classes: NDArray[np.int64], nsigma: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances (C, C) of the means of classes, and by how much their balls overlap."""
    means = class_means(x, classes)
    radii = nsigma * np.sqrt(class_means(((x - means[classes]) ** 2).sum(axis=1, keepdims=True), classes)[:, 0])
    distances = np.stack([np.linalg.norm(means - mean, axis=1) for mean in means])
    overlaps = np.maximum(radii[:, None] + radii - distances, 0.0)
    np.fill_diagonal(overlaps, 0.0)
    return distances, overlaps
