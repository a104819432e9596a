"""Orders of the nodes of graphs by the spectrum of the Laplacian: a network of an adjacency matrix sees these alone."""

from __future__ import annotations

from itertools import permutations, product
from math import factorial, prod

import torch
from torch import Tensor

TOLERANCE = 1e-6
MOST_FRAMES = 40320  # of 8 nodes that are all alike


def tied_nodes(adjacency: Tensor, tolerance: float = TOLERANCE) -> list[list[int]]:
    """Nodes in order, those together that the spectrum does not tell apart.

    Each node has a number for each eigenvalue: how much of it lies in the eigenspace. Nodes are sorted by these.

    Args:
        adjacency: (n, n), symmetric; may have weights.
        tolerance: below which eigenvalues, and numbers of nodes, are alike.

    Raises:
        ValueError: not symmetric.
    """
    matrix = adjacency.double()
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not torch.allclose(matrix, matrix.T):
        raise ValueError(f"adjacency: expected a symmetric matrix, found {tuple(adjacency.shape)}")
    values, vectors = torch.linalg.eigh(torch.diag(matrix.sum(dim=1)) - matrix)
    space = _ranks(values, tolerance)
    squares = torch.zeros_like(matrix).index_add(1, space, vectors.square())[:, : int(space.max()) + 1]
    keys = torch.stack([_ranks(column, tolerance) for column in squares.sqrt().T], dim=1).tolist()
    groups: dict[tuple[int, ...], list[int]] = {}
    for node, key in enumerate(keys):
        groups.setdefault(tuple(key), []).append(node)
    return [groups[key] for key in sorted(groups)]


def all_graph_frames(adjacency: Tensor, tolerance: float = TOLERANCE) -> Tensor:
    """All orders (K, n) of the nodes: sorted, those that are alike in every order. `order[i]` is the i-th node.

    Raises:
        ValueError: not symmetric, or more than 40320 orders.
    """
    groups = tied_nodes(adjacency, tolerance)
    count = prod(factorial(len(group)) for group in groups)
    if count > MOST_FRAMES:
        raise ValueError(f"adjacency: expected at most {MOST_FRAMES} orders of its nodes, found {count}: sample some")
    orders = product(*(permutations(group) for group in groups))
    return torch.tensor([[node for part in order for node in part] for order in orders])


def graph_frames(
    adjacency: Tensor,
    n_samples: int = 1,
    generator: torch.Generator | None = None,
    tolerance: float = TOLERANCE,
) -> Tensor:
    """Some orders (n_samples, n) of the nodes, drawn at random out of `all_graph_frames`, of which there may be many.

    Raises:
        ValueError: not symmetric.
    """
    groups = [torch.tensor(group) for group in tied_nodes(adjacency, tolerance)]
    return torch.stack(
        [
            torch.cat([group[torch.randperm(len(group), generator=generator)] for group in groups])
            for _ in range(n_samples)
        ]
    )


def in_order(adjacency: Tensor, orders: Tensor) -> Tensor:
    """Adjacency matrices (K, n, n) of a graph (n, n) whose nodes are put into orders (K, n)."""
    return adjacency[orders[:, :, None], orders[:, None, :]]


def _ranks(values: Tensor, tolerance: float) -> Tensor:
    """Numbers (n,) of clusters of values (n,), from the lowest; a gap above the tolerance parts them."""
    order = values.argsort()
    ranks = torch.zeros(len(values), dtype=torch.long)
    ranks[order[1:]] = (values[order].diff() > tolerance).cumsum(0)
    return ranks
