"""Transport between sets of tokens: plans by IPOT, and the distance of two sets by what is in them and between them.

Sources: IPOT, Xie et al. (arXiv 1802.04307); graph optimal transport, Chen et al., ICML 2020 (arXiv 2006.14744).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

SLACK = 0.1
"""Share of the range of costs, from the least, that costs nothing."""

LEAST = 1e-100
"""Smallest mass, and smallest factor of a step, of a plan in float64."""

WASSERSTEIN_BETA, WASSERSTEIN_ITERATIONS = 0.5, 30
GROMOV_BETA, GROMOV_ITERATIONS, GROMOV_OUTER = 0.1, 20, 5


@torch.no_grad()
def ipot(cost: Tensor, beta: float, n_iter: int) -> Tensor:
    """Plans between uniform masses by inexact proximal point steps, each with one scaling of rows and of columns.

    The columns are scaled last and sum to 1 / m; the rows sum to 1 / n only in the limit, and are not renormalised.
    Computed in float64 on costs less the least of each row and then of each column, which the scalings make good, and
    with a least mass of `LEAST`: whatever costs and beta are, no row or column vanishes.

    Args:
        cost: (B, n, m).
        beta: weight of the proximal term.
        n_iter: steps.

    Returns:
        Plans (B, n, m), float32; constants.

    Raises:
        ValueError: costs of another shape or not finite, or a beta or a number of steps that is not positive.
    """
    if cost.ndim != 3 or not cost.numel() or not bool(torch.isfinite(cost).all()):
        raise ValueError(f"cost: expected finite (B, n, m), found {tuple(cost.shape)} or some that are not finite")
    if beta <= 0 or n_iter < 1:
        raise ValueError(f"beta, n_iter: expected positive, found {beta} and {n_iter}")
    n, m = cost.shape[1:]
    reduced = cost.double() - cost.double().amin(dim=2, keepdim=True)
    kernel = (-(reduced - reduced.amin(dim=1, keepdim=True)) / beta).exp().clamp_min(LEAST)
    plan, sigma = torch.ones_like(kernel), kernel.new_full((len(kernel), m, 1), 1 / m)
    for _ in range(n_iter):
        q = kernel * plan
        delta = 1 / (n * q @ sigma)
        sigma = 1 / (m * q.transpose(1, 2) @ delta)
        plan = (q * delta * sigma.transpose(1, 2)).clamp_min(LEAST)
    return plan.float()


def cosine_costs(x: Tensor, y: Tensor) -> Tensor:
    """1 - cosine of all pairs (B, n, m) of (B, n, c) and (B, m, c); what is near the least of the batch costs nothing.

    `SLACK` of the way from the least to the largest cost of the whole batch is taken off, and the rest cut at 0.
    """
    costs = 1 - F.normalize(x, dim=2) @ F.normalize(y, dim=2).transpose(1, 2)
    least, most = costs.detach().aminmax()
    return F.relu(costs - (least + SLACK * (most - least)))


def graph_optimal_transport(
    x: Tensor, y: Tensor, n_tokens: int = 256, generator: torch.Generator | None = None
) -> Tensor:
    """Distance of sets of tokens, summed over the batch: transport of the tokens, and of the pairs within each set.

    The plans count as constants: near its optimum a plan's own change moves the distance by nothing in first order.

    Args:
        x: (B, n, c).
        y: (B, m, c).
        n_tokens: random tokens of each set that are compared, drawn for each side and sample by itself; all if a set
            has no more.
        generator: a CPU generator that draws them; may be left out where nothing is drawn.

    Returns:
        Scalar: the sum over the batch of the Wasserstein and the Gromov-Wasserstein distance.

    Raises:
        ValueError: sets of different batches or widths, or tokens to draw and no generator.
    """
    if x.ndim != 3 or y.ndim != 3 or len(x) != len(y) or x.shape[2] != y.shape[2]:
        raise ValueError(f"x, y: expected (B, n, c) and (B, m, c), found {tuple(x.shape)} and {tuple(y.shape)}")
    with torch.autocast(x.device.type, enabled=False):
        x, y = (_some_tokens(tokens.float(), n_tokens, generator) for tokens in (x, y))
        cost = cosine_costs(x, y)
        wasserstein = (cost * ipot(cost, WASSERSTEIN_BETA, WASSERSTEIN_ITERATIONS)).sum()
        return wasserstein + gromov_wasserstein(cosine_costs(x, x), cosine_costs(y, y))


def gromov_wasserstein(inner: Tensor, other: Tensor) -> Tensor:
    """How far pairs within one set lie from the pairs within another that they are brought to, summed over the batch.

    Args:
        inner: costs (B, n, n) within the first.
        other: costs (B, m, m) within the second.
    """
    n, m = inner.shape[1], other.shape[1]
    constant = inner.square().mean(dim=2)[:, :, None] + other.square().mean(dim=2)[:, None, :]
    plan = inner.new_full((len(inner), n, m), 1 / (n * m))
    with torch.no_grad():
        for _ in range(GROMOV_OUTER):
            cost = constant - 2 * inner @ plan @ other.transpose(1, 2)
            plan = ipot(cost, GROMOV_BETA, GROMOV_ITERATIONS)
    return ((constant - 2 * inner @ plan @ other.transpose(1, 2)) * plan).sum()


def _some_tokens(tokens: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Random (B, count, c) of tokens (B, n, c)."""
    if count < 1:
        raise ValueError(f"n_tokens: expected at least 1, found {count}")
    if tokens.shape[1] <= count:
        return tokens
    if generator is None:
        raise ValueError(f"generator: expected one to draw {count} of {tokens.shape[1]} tokens, found none")
    order = torch.rand(tokens.shape[:2], generator=generator).argsort(dim=1)[:, :count].to(tokens.device)
    return tokens.gather(1, order[..., None].expand(-1, -1, tokens.shape[2]))
