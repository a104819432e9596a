"""Coefficients by environment, the subsets of features whose coefficients stay, and how far they do elsewhere."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from representation.analysis.pac_invariant.sem import LinearSEM

Rule = Literal["pairwise_mean", "anchor_max"]
MOST_FEATURES = 20  # of which all subsets are looked at
_RANK = 1e-12  # of the largest eigenvalue, times the features


class Moments(NamedTuple):
    """Second moments of E environments, all that least squares needs.

    Attributes:
        gram: (E, d, d) mean of x xᵀ.
        cross: (E, d) mean of x y.
        power: (E,) mean of y².
    """

    gram: NDArray[np.float64]
    cross: NDArray[np.float64]
    power: NDArray[np.float64]


Environments = Moments | Sequence[tuple[NDArray, NDArray]]
"""Features (n, d) and outcomes (n,) of each environment, or their moments."""


@dataclass(frozen=True)
class InvariantSubset:
    """A subset of the features.

    Attributes:
        subset: its columns.
        coef: (k,) its coefficients: of the first environment, or the mean, by the rule.
        spread: how far environments lie from them, as a share of their length.
        accepted: whether that is within the tolerance.
    """

    subset: tuple[int, ...]
    coef: NDArray[np.float64]
    spread: float
    accepted: bool


def moments_of(envs: Environments, fit_intercept: bool = False) -> Moments:
    """Moments of environments.

    Args:
        envs: see `Environments`.
        fit_intercept: whether each environment is centred first. Otherwise shifted means become slopes.

    Raises:
        ValueError: none, other shapes, different features, or NaN; names the environment.
    """
    if isinstance(envs, Moments):
        return envs
    if not len(envs):
        raise ValueError("envs: expected at least one environment, found none")
    parts = []
    for number, (features, outcome) in enumerate(envs):
        x, y = np.asarray(features, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
        if x.ndim != 2 or y.shape != (len(x),) or len(x) == 0:
            raise ValueError(f"environment {number}: expected (n, d) and (n,), found {x.shape} and {y.shape}")
        if parts and x.shape[1] != parts[0][0].shape[1]:
            raise ValueError(f"environment {number}: expected {parts[0][0].shape[1]} features, found {x.shape[1]}")
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise ValueError(f"environment {number}: expected finite numbers, found NaN or infinity")
        if fit_intercept:
            x, y = x - x.mean(axis=0), y - y.mean()
        parts.append((x.T @ x / len(x), x.T @ y / len(x), float(y @ y) / len(x)))
    gram, cross, power = zip(*parts, strict=True)
    return Moments(np.stack(gram), np.stack(cross), np.array(power))


def population_moments(models: Sequence[LinearSEM]) -> Moments:
    """Moments of environments by their models, of infinitely many samples each."""
    found = np.stack([model.moments() for model in models])
    x, y = list(models[0].covariates), models[0].target
    return Moments(found[:, x][:, :, x], found[:, x, y], found[:, y, y])


def environment_coefficients(
    envs: Environments, subset: Sequence[int], ridge: float = 0.0, fit_intercept: bool = False
) -> NDArray[np.float64]:
    """Least squares coefficients (E, k) of the outcome on some columns.

    Where columns determine each other, it is the shortest solution, and a warning tells the rank.

    Args:
        envs: see `Environments`.
        subset: k different columns.
        ridge: that is added to the mean squares of the features.
        fit_intercept: see `moments_of`.
    """
    moments = moments_of(envs, fit_intercept)
    columns = list(subset)
    if not columns or len(set(columns)) != len(columns) or not set(columns) <= set(range(moments.cross.shape[1])):
        raise ValueError(f"subset: expected different columns of {moments.cross.shape[1]}, found {columns}")
    if ridge < 0:
        raise ValueError(f"ridge: expected not negative, found {ridge}")
    gram = moments.gram[:, columns][:, :, columns] + ridge * np.eye(len(columns))
    values, vectors = np.linalg.eigh(gram)
    alive = values > _RANK * len(columns) * np.maximum(values[:, -1:], 1e-300)
    ranks = alive.sum(axis=1)
    if ranks.min() < len(columns):
        few = np.flatnonzero(ranks < len(columns))
        warnings.warn(
            f"columns {columns}: expected rank {len(columns)}, found {ranks[few].min()} in {len(few)} of {len(ranks)} "
            "environments; the shortest coefficients are taken",
            stacklevel=2,
        )
    inverse = np.where(alive, 1 / np.where(alive, values, 1.0), 0.0)
    turned = np.einsum("eij,ei->ej", vectors, moments.cross[:, columns])
    return np.einsum("eij,ej->ei", vectors, inverse * turned)


def count_subsets(features: int, max_size: int | None = None) -> int:
    """How many subsets of some features there are that have at least one and at most `max_size` of them."""
    return sum(math.comb(features, size) for size in range(1, min(max_size or features, features) + 1))


def invariant_subsets(
    envs: Environments,
    tolerance: float = 0.02,
    rule: Rule = "pairwise_mean",
    max_size: int | None = None,
    violations: int = 0,
    fit_intercept: bool = False,
) -> list[InvariantSubset]:
    """Look at all subsets of the features.

    Args:
        envs: at least two; of the `anchor_max` rule the first one is the anchor.
        tolerance: largest spread.
        rule: `pairwise_mean` takes the mean of the coefficients, and as spread the mean distance of all E² pairs of
            environments, so that one wild environment of many passes; `anchor_max` takes those of the first
            environment, and the largest distance of the others.
        max_size: of the subsets.
        violations: of the `anchor_max` rule: so many of the largest distances are left out; see `pac_certificate`.
        fit_intercept: see `moments_of`.

    Returns:
        All of them, smaller ones first.

    Raises:
        ValueError: fewer than two environments, more than 20 features without `max_size`, or an unknown rule.
    """
    moments = moments_of(envs, fit_intercept)
    count, features = moments.cross.shape
    if rule not in ("pairwise_mean", "anchor_max"):
        raise ValueError(f"rule: expected pairwise_mean or anchor_max, found {rule!r}")
    if count < 2 or tolerance <= 0:
        raise ValueError(f"envs, tolerance: expected at least 2 and above 0, found {count} and {tolerance}")
    if features > MOST_FEATURES and max_size is None:
        raise ValueError(f"features: expected at most {MOST_FEATURES} without max_size, found {features}")
    if not 0 <= violations < count - 1 or (violations and rule != "anchor_max"):
        raise ValueError(f"violations: expected 0 to {count - 2}, and the rule anchor_max, found {violations}")
    sizes = range(1, min(max_size or features, features) + 1)
    subsets = itertools.chain.from_iterable(itertools.combinations(range(features), size) for size in sizes)
    return [judged(moments, subset, tolerance, rule, violations) for subset in subsets]


def judged(
    moments: Moments, subset: Sequence[int], tolerance: float, rule: Rule = "anchor_max", violations: int = 0
) -> InvariantSubset:
    """One subset; arguments as of `invariant_subsets`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns that determine each other, as they do in many subsets
        found = environment_coefficients(moments, subset)
    if rule == "anchor_max":
        coef = found[0]
        distances = np.sort(np.linalg.norm(found[1:] - coef, axis=1))
        spread = float(distances[len(distances) - 1 - violations])
    else:
        coef = found.mean(axis=0)
        spread = float(np.linalg.norm(found[:, None] - found[None], axis=2).mean())
    length = float(np.linalg.norm(coef))
    relative = spread / length if length > 0 else float("inf")
    return InvariantSubset(tuple(subset), coef, relative, relative < tolerance)


def generalization_rate(
    subset: Sequence[int], coef: NDArray, test_envs: Environments, tolerance: float = 0.02, fit_intercept: bool = False
) -> float:
    """Share of the environments whose coefficients lie within the tolerance of `coef` (k,), relative to its length."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = environment_coefficients(test_envs, subset, fit_intercept=fit_intercept)
    if np.shape(coef) != (len(subset),):
        raise ValueError(f"coef: expected ({len(subset)},), found {np.shape(coef)}")
    return float((np.linalg.norm(found - coef, axis=1) < tolerance * np.linalg.norm(coef)).mean())


def pooled_erm(envs: Environments, fit_intercept: bool = False) -> NDArray[np.float64]:
    """Coefficients (d,) of all features on all environments together, each counted alike: the natural baseline."""
    moments = moments_of(envs, fit_intercept)
    pooled = Moments(*(part.mean(axis=0, keepdims=True) for part in moments))
    return environment_coefficients(pooled, range(moments.cross.shape[1]))[0]


def explained_share(envs: Environments, subset: Sequence[int], coef: NDArray, fit_intercept: bool = False) -> float:
    """Mean over environments of the share of the outcome's mean square that fixed coefficients explain."""
    moments, columns = moments_of(envs, fit_intercept), list(subset)
    gram = moments.gram[:, columns][:, :, columns]
    missed = moments.power - 2 * moments.cross[:, columns] @ coef + np.einsum("i,eij,j->e", coef, gram, coef)
    return float((1 - missed / np.maximum(moments.power, 1e-300)).mean())
