"""What directions of one layer do to those of the next, and which of them belong together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import networkx as nx
import numpy as np
import torch
from torch import Tensor, nn

from representation.analysis.interaction_basis.basis import Basis, Rule, mean_gradients
from representation.analysis.interaction_basis.folding import activations, prepared

_RUNS = 10


def edges(
    seq: nn.Sequential,
    bases: Mapping[int, Basis],
    data: Tensor,
    rule: Rule = "gradient",
    n: int = 1,
    fold: bool = True,
) -> list[Tensor]:
    """Mean squares E (r of the next layer, r) of what each direction adds to each of the next layer's.

    E_ij = (1/N) Σ (∫ ∂f̂_i(t f̂)/∂f̂_j dt f̂_j)², t from 0 to 1. The constant has no edges. The last layer leads
    to the output, in its own coordinates unless a basis is given for it.

    Args:
        seq: the network.
        bases: of its layers, in their order.
        data: (..., d) inputs.
        rule: see `basis.alphas`.
        n: likewise.
        fold: whether the bases are of activations with a constant.
    """
    net = prepared(seq, fold)
    acts = activations(net, data, list(bases))
    layers = sorted({*bases, len(net)})
    found = []
    for layer, following in pairwise(layers):
        basis, target = bases[layer], bases.get(following)
        hidden = acts[layer] @ basis.C
        between, first = _between(net, layer, following, basis, target), bool(target and target.constant)
        with torch.no_grad():
            count = between(hidden[:1]).shape[1]
        rows = []
        for i in range(first, count):
            toward = torch.eye(count, dtype=torch.float64)[i]
            rows.append((mean_gradients(between, hidden, toward, rule, n) * hidden).square().mean(dim=0))
        found.append(torch.stack(rows)[:, int(basis.constant) :])
    return found


def modularity(
    edges: Sequence[Tensor], eps: float | Sequence[float], gamma: float = 1.0, seed: int = 0
) -> tuple[float, list[Tensor]]:
    """Newman's modularity of the layered graph with weights max(0, log10(E / eps)), and a module for each direction.

    A weak interaction frees parameters as the logarithm of its weakness, so weights are logarithms.

    Args:
        edges: see `edges`, of consecutive layers.
        eps: interactions that do not count, of all layers or of each.
        gamma: resolution with which modules are sought; more gives smaller ones.
        seed: of the search.

    Returns:
        Q at resolution 1, 0 without edges; modules (r,) of each layer, numbered from the largest.

    Raises:
        ValueError: edges that do not follow each other, negative ones, or a cut-off that is not positive.
    """
    cuts = [float(eps)] * len(edges) if isinstance(eps, int | float) else [float(one) for one in eps]
    if len(cuts) != len(edges) or min(cuts, default=0.0) <= 0:
        raise ValueError(f"eps: expected {len(edges)} positive numbers, found {cuts}")
    if any(before.shape[0] != after.shape[1] for before, after in pairwise(edges)) or any((e < 0).any() for e in edges):
        raise ValueError(f"edges: expected layers that follow each other, found {[tuple(e.shape) for e in edges]}")
    sizes = [edges[0].shape[1], *(one.shape[0] for one in edges)]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    graph = nx.Graph()
    graph.add_nodes_from(range(int(starts[-1])))
    for layer, (one, cut) in enumerate(zip(edges, cuts, strict=True)):
        weights = (one / cut).clamp(min=1.0).log10()
        for i, j in weights.nonzero().tolist():
            graph.add_edge(int(starts[layer] + j), int(starts[layer + 1] + i), weight=float(weights[i, j]))
    if not graph.number_of_edges():
        return 0.0, list(torch.arange(int(starts[-1])).split(sizes))
    runs = [nx.community.louvain_communities(graph, resolution=gamma, seed=seed * _RUNS + run) for run in range(_RUNS)]
    best = max(runs, key=lambda found: nx.community.modularity(graph, found, resolution=gamma))
    labels = torch.empty(int(starts[-1]), dtype=torch.long)
    for number, members in enumerate(sorted(best, key=lambda one: (-len(one), min(one)))):
        labels[sorted(members)] = number
    return float(nx.community.modularity(graph, best)), list(labels.split(sizes))


@torch.no_grad()
def ablate_edges(
    seq: nn.Sequential, layer: int, bases: Mapping[int, Basis], kept: Tensor, data: Tensor, fold: bool = True
) -> Tensor:
    """Outputs (N, o) where each direction of the next layer sees only some of this one's, and the constant.

    Args:
        seq: the network.
        layer: of `bases`, from which the edges lead.
        bases: see `edges`.
        kept: (r of the next layer, r) bool.
        data: (..., d) inputs.
        fold: see `edges`.
    """
    net = prepared(seq, fold)
    following = min((one for one in bases if one > layer), default=len(net))
    basis, target = bases[layer], bases.get(following)
    hidden = activations(net, data, [layer])[layer] @ basis.C
    between, first = _between(net, layer, following, basis, target), bool(target and target.constant)
    seen = torch.cat([kept.new_ones(len(kept), int(basis.constant)), kept], dim=1).double()
    columns = [between(hidden)[:, :1]] if first else []
    columns += [between(hidden * mask)[:, first + i, None] for i, mask in enumerate(seen)]
    found = torch.cat(columns, dim=1)
    return found if target is None else net[following:](found @ target.C_pinv)


def required_edges(
    seq: nn.Sequential,
    layer: int,
    bases: Mapping[int, Basis],
    strengths: Tensor,
    data: Tensor,
    measure: Callable[[Tensor], float],
    least: float,
    fold: bool = True,
) -> tuple[int, float]:
    """How many of a layer's edges, the strongest first, keep a measure, and how strong the last of them is.

    By bisection, as if more edges never did harm.

    Args:
        seq: the network.
        layer: from which the edges lead.
        bases: see `edges`.
        strengths: (r of the next layer, r), those of `edges`.
        data: (..., d) inputs.
        measure: of outputs (N, o), more is better.
        least: that is to be kept.
        fold: see `edges`.

    Raises:
        ValueError: all of them together do not keep it.
    """
    order = strengths.flatten().argsort(descending=True)

    def keeps(count: int) -> bool:
        kept = torch.zeros(strengths.numel(), dtype=torch.bool)
        kept[order[:count]] = True
        return measure(ablate_edges(seq, layer, bases, kept.view_as(strengths), data, fold)) >= least

    low, high = 0, strengths.numel()
    if not keeps(high):
        raise ValueError(f"least: expected at most what all {high} edges give, found {least}")
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if keeps(middle) else (middle + 1, high)
    return high, float(strengths.flatten()[order[high - 1]]) if high else float("inf")


def _between(
    net: nn.Sequential, layer: int, following: int, basis: Basis, target: Basis | None
) -> Callable[[Tensor], Tensor]:
    """From directions of a layer to those of the next."""
    part = net[layer:following]

    def between(hidden: Tensor) -> Tensor:
        found = part(hidden @ basis.C_pinv)
        return found if target is None else found @ target.C

    return between
