"""For more features than all subsets can be looked at of: a greedy search, and linear maps instead of subsets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from representation.analysis.pac_invariant.subsets import (
    Environments,
    InvariantSubset,
    explained_share,
    judged,
    moments_of,
)

_LEAST_LOSS = 1e-3  # of the explained share, below which a feature is dropped again


def greedy_subsets(
    envs: Environments, tolerance: float = 0.02, max_size: int = 8, fit_intercept: bool = False
) -> list[InvariantSubset]:
    """Accepted subsets on the way of a forward and a backward search, by the `anchor_max` rule.

    Forward, the feature is added that leaves the coefficients nearest to the same; backward, from the accepted subset
    that explains most, those are dropped without which it explains as much. What it finds depends on the data, so a
    certificate has to count all subsets of up to `max_size` features; see `count_subsets`.

    Args:
        envs: see `Environments`.
        tolerance: see `invariant_subsets`.
        max_size: of the subsets.
        fit_intercept: see `moments_of`.

    Returns:
        Accepted ones, the one that explains most first; none if there are none.
    """
    moments = moments_of(envs, fit_intercept)
    features = moments.cross.shape[1]
    accepted: dict[tuple[int, ...], InvariantSubset] = {}

    def look(columns: tuple[int, ...]) -> InvariantSubset:
        found = judged(moments, tuple(sorted(columns)), tolerance)
        if found.accepted:
            accepted[found.subset] = found
        return found

    def explains(found: InvariantSubset) -> float:
        return explained_share(moments, found.subset, found.coef)

    chosen: tuple[int, ...] = ()
    while len(chosen) < min(max_size, features):
        tried = [look((*chosen, column)) for column in range(features) if column not in chosen]
        chosen = min(tried, key=lambda found: found.spread).subset
    if not accepted:
        return []
    best = max(accepted.values(), key=explains)
    while len(best.subset) > 1:
        without = [look(tuple(c for c in best.subset if c != column)) for column in best.subset]
        fewer = [found for found in without if found.accepted and explains(found) > explains(best) - _LEAST_LOSS]
        if not fewer:
            break
        best = max(fewer, key=explains)
    return sorted(accepted.values(), key=explains, reverse=True)


class InvariantMap(NamedTuple):
    """A linear map under which one predictor is nearly the best one in every environment.

    Attributes:
        phi: (k, d) orthonormal rows.
        head: (k,) the predictor.
        gradient: (E,) length of the gradient of each environment's loss at it: 0 where it is the best one.
        loss: (E,) mean squared errors.
    """

    phi: NDArray[np.float64]
    head: NDArray[np.float64]
    gradient: NDArray[np.float64]
    loss: NDArray[np.float64]


def invariant_map(
    envs: Environments,
    k: int,
    weight: float = 10.0,
    steps: int = 200,
    seed: int = 0,
    fit_intercept: bool = False,
) -> InvariantMap:
    """Descend on mean squared error plus weighted squared gradients by environment. Experimental; no certificate.

    Features may be mixtures of what matters, of which no subset is invariant. The map is sought by L-BFGS; its best
    predictor has a closed form. Moments are divided by their mean size, so that the weight does not depend on units.

    Args:
        envs: see `Environments`.
        k: rows of the map.
        weight: of the gradients.
        steps: of L-BFGS at most.
        seed: of where it begins.
        fit_intercept: see `moments_of`.

    Raises:
        ValueError: k out of range.
    """
    moments = moments_of(envs, fit_intercept)
    features = moments.cross.shape[1]
    if not 1 <= k <= features:
        raise ValueError(f"k: expected 1 to {features}, found {k}")
    size = float(np.trace(moments.gram.mean(axis=0)) / features)
    gram, cross, power = (torch.from_numpy(part / size) for part in moments)
    raw = torch.randn(features, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    optimizer = torch.optim.LBFGS([raw.requires_grad_()], max_iter=steps, line_search_fn="strong_wolfe")

    def measures() -> tuple[Tensor, Tensor, Tensor, Tensor]:
        phi = torch.linalg.qr(raw).Q.T
        inner, outer = phi @ gram @ phi.T, cross @ phi.T
        left = (inner + weight * inner @ inner).mean(dim=0)
        right = (outer + weight * torch.einsum("eij,ej->ei", inner, outer)).mean(dim=0)
        head = torch.linalg.solve(left, right)
        return phi, head, (inner @ head - outer).norm(dim=1), power - 2 * outer @ head + inner @ head @ head

    def closure() -> Tensor:
        optimizer.zero_grad()
        _, _, gradient, loss = measures()
        total = loss.mean() + weight * gradient.square().mean()
        total.backward()
        return total

    optimizer.step(closure)
    with torch.no_grad():
        phi, head, gradient, loss = measures()
    return InvariantMap(phi.numpy(), head.numpy(), size * gradient.numpy(), size * loss.numpy())
