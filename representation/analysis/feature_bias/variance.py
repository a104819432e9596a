"""Shares of the variance of activations that factors explain, by unit and by principal component."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

Factors = Mapping[str, ArrayLike] | NDArray
"""What is known of each row: (N,) or (N, k) by name, or (N, J), whose columns are then called 0, 1, ..."""

ALIGNED = 0.5  # least correlation of a component with a factor that it shows
_RANK = 1e-10  # of the largest singular value


@dataclass(frozen=True)
class VarianceReport:
    """Shares of the total variance of activations.

    Attributes:
        per_factor: each factor alone. They add up to `joint` where factors are independent in the rows.
        joint: all factors together; None if it was not asked for.
        unique: what each adds to all the others.
        shared: what more than one of them explains, such that unique shares and this add up to `joint`. Negative where
            factors explain more together than alone.
        interactions: what products of two factors add; 0 if they were not asked for.
        residual: what is left.
    """

    per_factor: dict[str, float]
    joint: float | None = None
    unique: dict[str, float] = field(default_factory=dict)
    shared: float = 0.0
    interactions: float = 0.0
    residual: float | None = None


def checked_activations(activations: ArrayLike, name: str = "activations") -> NDArray[np.float64]:
    """Activations (N, m) as float64.

    Raises:
        ValueError: another shape, fewer than two rows, NaN or infinity.
    """
    found = np.asarray(activations, dtype=np.float64)
    if found.ndim != 2 or len(found) < 2:
        raise ValueError(f"{name}: expected (N, m) with at least two rows, found {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError(f"{name}: expected finite numbers, found NaN or infinity in {_bad_rows(found)} rows")
    return found


def named_factors(factors: Factors, count: int) -> dict[str, NDArray]:
    """Factors by name.

    Args:
        factors: see `Factors`.
        count: rows N.

    Returns:
        Whole numbers, booleans and texts as classes (N,) from 0; other numbers as (N, k) float64.

    Raises:
        ValueError: none, other lengths or shapes, NaN, or a factor with one value only; names it.
    """
    if not isinstance(factors, Mapping):
        array = np.asarray(factors)
        if array.ndim != 2:
            raise ValueError(f"factors: expected (N, J), found {array.shape}")
        factors = {str(column): array[:, column] for column in range(array.shape[1])}
    if not factors:
        raise ValueError("factors: expected at least one, found none")
    found: dict[str, NDArray] = {}
    for name, values in factors.items():
        array = np.asarray(values)
        if array.ndim not in (1, 2) or len(array) != count:
            raise ValueError(f"factor {name}: expected ({count},) or ({count}, k), found {array.shape}")
        if array.dtype.kind in "iubUS":
            if array.ndim == 2:
                raise ValueError(f"factor {name}: expected classes ({count},), found {array.shape}")
            array = np.unique(array, return_inverse=True)[1]
        else:
            array = array.reshape(count, -1).astype(np.float64)
            if not np.isfinite(array).all():
                raise ValueError(f"factor {name}: expected finite numbers, found NaN or infinity")
        if (array == array[0]).all():
            raise ValueError(f"factor {name}: expected more than one value, found one in all {count} rows")
        found[name] = array
    return found


def design(values: NDArray) -> NDArray[np.float64]:
    """Columns (N, p) that are regressed on: numbers as they are, classes but the first as 0 and 1."""
    if values.ndim == 2:
        return values
    return (values[:, None] == np.arange(1, values.max() + 1)).astype(np.float64)


def variance_explained(
    activations: ArrayLike,
    factors: Factors,
    joint: bool = True,
    interactions: bool = False,
    weights: ArrayLike | None = None,
) -> VarianceReport:
    """Least squares of activations on factors; variance is summed over units, so large units count for more.

    Args:
        activations: (N, m).
        factors: see `Factors`.
        joint: whether all factors are also regressed on together, which tells unique and shared parts.
        interactions: whether products of two factors are, too. Implies `joint`.
        weights: (N,) of the rows, not negative; all alike if None.

    Raises:
        ValueError: see `checked_activations` and `named_factors`; activations that are all alike; wrong weights.
    """
    h = checked_activations(activations)
    named = named_factors(factors, len(h))
    root = _root_weights(weights, len(h))
    h = _centred(h, root)
    total = float(np.square(h).sum())
    if total <= 1e-24:
        raise ValueError("activations: expected some variance, found equal rows")
    columns = {name: design(values) for name, values in named.items()}
    many = {name for name, values in named.items() if values.ndim == 1 and values.max() > 1}

    def share(names: list[str], more: list[NDArray] | None = None) -> float:
        if not names:
            return 0.0
        x = np.concatenate([columns[name] for name in names] + (more or []), axis=1)
        return _explained(x, h, root) / total - _chance([columns[name] for name in names if name in many], root)

    names = list(columns)
    alone = {name: share([name]) for name in names}
    if not (joint or interactions):
        return VarianceReport(alone)
    together = share(names)
    unique = {name: together - share([other for other in names if other != name]) for name in names}
    added = 0.0
    if interactions:
        products = [_products(columns[a], columns[b]) for a, b in itertools.combinations(names, 2)]
        added = share(names, products) - together if products else 0.0
    shared = together - sum(unique.values())
    return VarianceReport(alone, together, unique, shared, added, 1 - together - added)


def mean_unit_r2(activations: ArrayLike, factors: Factors) -> dict[str, float]:
    """Mean over units of the share that each factor explains of each: small units count as much as large ones.

    Units without variance count as not explained. Classes are not corrected for chance.
    """
    return {name: float(np.mean(r2)) for name, r2 in _unit_r2(checked_activations(activations), factors).items()}


def unit_density(activations: ArrayLike, factors: Factors, threshold: float = 0.3) -> dict[str, float]:
    """Share of the units whose (multiple) correlation with a factor is above `threshold`."""
    if not 0 < threshold < 1:
        raise ValueError(f"threshold: expected in (0, 1), found {threshold}")
    found = _unit_r2(checked_activations(activations), factors)
    return {name: float(np.mean(np.sqrt(r2) > threshold)) for name, r2 in found.items()}


@dataclass(frozen=True)
class PrincipalComponent:
    """The first principal component that shows a factor.

    Attributes:
        rank: its number, from 1; None if none of the k does.
        variance: its share of the variance; 0 if there is none.
        correlations: (k,) of the first k components with the factor, not negative.
    """

    rank: int | None
    variance: float
    correlations: tuple[float, ...]


def pca_alignment(activations: ArrayLike, factors: Factors, k: int = 10) -> dict[str, PrincipalComponent]:
    """Which of the first k principal components each factor correlates with by more than `ALIGNED`."""
    h = checked_activations(activations)
    if k < 1:
        raise ValueError(f"k: expected at least 1, found {k}")
    left, sizes, _ = np.linalg.svd(h - h.mean(axis=0), full_matrices=False)
    k = min(k, int((sizes > _RANK * max(sizes[0], 1e-300)).sum()))
    if k == 0:
        raise ValueError("activations: expected some variance, found equal rows")
    shares = sizes**2 / (sizes**2).sum()
    found = {}
    for name, r2 in _unit_r2(left[:, :k], factors).items():
        correlations = np.sqrt(r2)
        over = np.flatnonzero(correlations > ALIGNED)
        first = int(over[0]) if len(over) else None
        variance = 0.0 if first is None else float(shares[first])
        rank = None if first is None else first + 1
        found[name] = PrincipalComponent(rank, variance, tuple(map(float, correlations)))
    return found


def _unit_r2(h: NDArray[np.float64], factors: Factors) -> dict[str, NDArray[np.float64]]:
    """Share (m,) of each unit that a factor explains."""
    root = _root_weights(None, len(h))
    named, h = named_factors(factors, len(h)), _centred(h, root)
    total = np.square(h).sum(axis=0)
    alive = total > 1e-24
    found = {}
    for name, values in named.items():
        basis = _basis(design(values), root)
        r2 = np.zeros(h.shape[1])
        r2[alive] = np.square(basis.T @ h[:, alive]).sum(axis=0) / total[alive]
        found[name] = r2.clip(0, 1)
    return found


def _explained(x: NDArray[np.float64], h: NDArray[np.float64], root: NDArray[np.float64]) -> float:
    return float(np.square(_basis(x, root).T @ h).sum())


def _basis(x: NDArray[np.float64], root: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal columns that span those of x, centred."""
    centred = _centred(x, root)
    scale = np.sqrt(np.square(centred).sum(axis=0))
    centred = centred[:, scale > 1e-12] / scale[scale > 1e-12]
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    return left[:, sizes > _RANK * sizes.max(initial=0.0)]


def _centred(x: NDArray[np.float64], root: NDArray[np.float64]) -> NDArray[np.float64]:
    """Minus the weighted mean, times the roots of the weights (N, 1), whose squares sum to 1."""
    return (x - (root**2 * x).sum(axis=0)) * root


def _products(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return (a[:, :, None] * b[:, None, :]).reshape(len(a), -1)


def _chance(columns: list[NDArray[np.float64]], root: NDArray[np.float64]) -> float:
    """What factors of more than two classes explain by chance; of each, one less than it has classes counts.

    Classes that follow from those of other factors do not count again.
    """
    if not columns:
        return 0.0
    return _basis(np.concatenate(columns, axis=1), root).shape[1] / (len(root) - 1)


def _root_weights(weights: ArrayLike | None, count: int) -> NDArray[np.float64]:
    found = np.ones(count) if weights is None else np.asarray(weights, dtype=np.float64)
    if found.shape != (count,) or not np.isfinite(found).all() or (found < 0).any() or found.sum() <= 0:
        raise ValueError(f"weights: expected ({count},) finite numbers, not negative, found {found.shape}")
    return np.sqrt(found / found.sum())[:, None]


def _bad_rows(found: NDArray) -> int:
    return int((~np.isfinite(found)).any(axis=1).sum())
