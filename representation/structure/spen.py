"""SPEN: graphs by their ego networks, each seen by linear maps that do not mind the numbers of nodes.

Around every node lies its ego network: the nodes at most k edges away, and the edges among them. Tensors over pairs of
its nodes go through all 15 linear maps that permutations commute with, what comes out is put together over the nodes
and pairs that ego networks share, and goes on. Loops and triangles that message passing cannot see are seen here, at a
cost of the sum of m² over ego networks of m nodes instead of n² of the graph.

Source: Subgraph Permutation Equivariant Networks, Mitton and Murray-Smith, TMLR 2023 (arXiv 2111.11840); the maps are
the standard basis of permutation-equivariant ones (Maron et al., ICLR 2019). No code was published, and details beyond
the abstract are a reconstruction. A batch of graphs is node features (n, F), edges (2, E) in both directions, features
of the edges (E, G) and the graph of each node (n,); it gives logits (B, C).

Weights are shared by ego networks of all sizes, with sums divided by m. Ego networks are no stronger than the maps:
some graphs, such as the rook's and Shrikhande's, stay alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.checkpoint import load_weights, read_config, save_encoder

SYSTEM = "spen"
BASIS = {(2, 2): 15, (2, 1): 5, (1, 2): 5, (1, 1): 2, (2, 0): 2, (1, 0): 1, (0, 0): 1, (0, 1): 1, (0, 2): 2}
"""How many maps there are from tensors over so many nodes to tensors over so many."""

MOST_NODES = 200  # of an ego network


@dataclass(frozen=True)
class Subgraphs:
    """Parts of a graph, padded to M nodes.

    Attributes:
        nodes: (S, M) nodes of the whole graph, 0 where there is none.
        mask: (S, M), which there are.
        adjacency: (S, M, M) of 0 and 1.
    """

    nodes: Tensor
    mask: Tensor
    adjacency: Tensor

    @property
    def pairs(self) -> Tensor:
        """(S, M, M), pairs of nodes that there are."""
        return self.mask[:, :, None] & self.mask[:, None, :]


def ego_subgraphs(edge_index: Tensor, num_nodes: int, hops: int) -> Subgraphs:
    """The ego network of each node, S = num_nodes.

    Raises:
        ValueError: nodes that are not there, or an ego network of more than 200 nodes.
    """
    near = torch.eye(num_nodes, dtype=torch.bool)
    adjacency = _adjacency(edge_index, num_nodes)
    for _ in range(hops):
        near = near | (near.float() @ adjacency.float() > 0)
    return _parts(near, adjacency)


def whole_graphs(edge_index: Tensor, batch: Tensor) -> Subgraphs:
    """Each graph as one part, S = B."""
    members = F.one_hot(batch).T.bool()
    return _parts(members, _adjacency(edge_index, len(batch)))


def _adjacency(edge_index: Tensor, n: int) -> Tensor:
    if edge_index.numel() and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < n:
        raise ValueError(f"edge_index: expected nodes from 0 to {n - 1}, found up to {int(edge_index.max())}")
    return torch.zeros(n, n, dtype=torch.bool).index_put(tuple(edge_index), torch.tensor(True))


def _parts(members: Tensor, adjacency: Tensor) -> Subgraphs:
    sizes = members.sum(dim=1)
    most = int(sizes.max()) if len(sizes) else 0
    if most > MOST_NODES:
        raise ValueError(f"edge_index: expected parts of at most {MOST_NODES} nodes, found one of {most}")
    order = torch.sort(members.int(), dim=1, descending=True, stable=True).indices[:, :most]
    mask = torch.arange(most) < sizes[:, None]
    nodes = order * mask
    found = adjacency[nodes[:, :, None], nodes[:, None, :]] & mask[:, :, None] & mask[:, None, :]
    return Subgraphs(nodes, mask, found.float())


def equivariant_basis(x: Tensor, order_in: int, order_out: int, mask: Tensor) -> Tensor:
    """All linear maps of tensors over nodes that permutations commute with.

    Args:
        x: (S, C), (S, m, C) or (S, m, m, C), by `order_in`; 0 where nodes are absent.
        order_in: 0, 1 or 2.
        order_out: 0, 1 or 2.
        mask: (S, m), which nodes there are.

    Returns:
        (S, C, b), (S, m, C, b) or (S, m, m, C, b) with the b of `BASIS`; sums are divided by the number of nodes.
    """
    m = mask.sum(dim=1).clamp(min=1).to(x.dtype)
    there = mask.to(x.dtype)
    if order_in == 2:
        diagonal = x.diagonal(dim1=1, dim2=2).movedim(-1, 1)
        rows, columns = (x.sum(dim=axis) / m[:, None, None] for axis in (2, 1))
        vectors = [diagonal, rows, columns]
        scalars = [diagonal.sum(dim=1) / m[:, None], rows.sum(dim=1) / m[:, None]]
    elif order_in == 1:
        vectors, scalars = [x], [x.sum(dim=1) / m[:, None]]
    else:
        vectors, scalars = [], [x]
    if order_out == 0:
        return torch.stack(scalars, dim=-1)
    nodes = there[:, :, None]
    if order_out == 1:
        return torch.stack([*vectors, *(scalar[:, None] * nodes for scalar in scalars)], dim=-1)
    pairs, own = nodes[:, :, None] * nodes[:, None, :], torch.diag_embed(there)[..., None]
    maps = [x, x.transpose(1, 2)] if order_in == 2 else []
    for vector in vectors:
        maps += [own * vector[:, :, None], pairs * vector[:, :, None], pairs * vector[:, None, :]]
    for scalar in scalars:
        maps += [own * scalar[:, None, None], pairs * scalar[:, None, None]]
    return torch.stack(maps, dim=-1)


class EquivariantLinear(nn.Module):
    """A linear map that permutations of nodes commute with, with a bias that they leave as it is.

    Args:
        order_in: 0, 1 or 2, of the tensors that come in.
        order_out: likewise, that go out.
        c_in: channels.
        c_out: channels.
    """

    def __init__(self, order_in: int, order_out: int, c_in: int, c_out: int) -> None:
        super().__init__()
        self.order_in, self.order_out = order_in, order_out
        count = BASIS[order_in, order_out]
        self.weight = nn.Parameter(torch.randn(c_in, count, c_out) * (2 / (c_in * count)) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(2 if order_out == 2 else 1, c_out))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Tensors of `order_out` with c_out channels; 0 where nodes are absent."""
        basis = equivariant_basis(x, self.order_in, self.order_out, mask)
        out = torch.einsum("...cb,cbh->...h", basis, self.weight)
        there = mask.to(x.dtype)
        if self.order_out == 0:
            return out + self.bias[0]
        if self.order_out == 1:
            return out + there[:, :, None] * self.bias[0]
        pairs = there[:, :, None] * there[:, None, :]
        return out + pairs[..., None] * self.bias[0] + torch.diag_embed(there)[..., None] * self.bias[1]


class SPENLayer(nn.Module):
    """Pairs to pairs and nodes, put together over all parts, and taken apart again.

    Args:
        c_in: channels of pairs.
        c_out: channels of pairs that go out.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.pairs, self.nodes = EquivariantLinear(2, 2, c_in, c_out), EquivariantLinear(2, 1, c_in, c_out)
        self.local = nn.Linear(2 * c_out, c_out)
        self.shared = nn.Linear(c_out, c_out)

    def forward(self, x: Tensor, parts: Subgraphs, n: int) -> Tensor:
        """Tensors (S, M, M, c_out) of the parts of a graph of n nodes, of (S, M, M, c_in)."""
        pairs = F.leaky_relu(self.pairs(x, parts.mask), 0.1)
        nodes = F.leaky_relu(self.nodes(x, parts.mask), 0.1)
        everywhere = shared_pairs(pairs, parts, n)
        around = shared_nodes(nodes, parts, n)[parts.nodes]
        found = self.local(torch.cat([pairs, everywhere], dim=-1))
        found = found + torch.diag_embed(self.shared(around).movedim(-1, 1)).movedim(1, -1)
        return F.leaky_relu(found, 0.1) * parts.pairs[..., None]


def shared_nodes(x: Tensor, parts: Subgraphs, n: int) -> Tensor:
    """Means (n, C) of what the parts that hold a node tell of it (S, M, C)."""
    places, told = parts.nodes[parts.mask], x[parts.mask]
    counts = torch.bincount(places, minlength=n).clamp(min=1)
    return x.new_zeros(n, x.shape[-1]).index_add(0, places, told) / counts[:, None]


def shared_pairs(x: Tensor, parts: Subgraphs, n: int) -> Tensor:
    """Means (S, M, M, C) of what all parts that hold a pair tell of it."""
    keys = parts.nodes[:, :, None] * n + parts.nodes[:, None, :]
    _, place = keys[parts.pairs].unique(return_inverse=True)
    count = int(place.max()) + 1 if len(place) else 0
    total = x.new_zeros(count, x.shape[-1]).index_add(0, place, x[parts.pairs])
    mean = total / torch.bincount(place, minlength=count)[:, None]
    return torch.zeros_like(x).masked_scatter(parts.pairs[..., None], mean[place])


@dataclass(frozen=True)
class SPENConfig:
    """Sizes of a network.

    Attributes:
        node_dim: features F of a node.
        edge_dim: features G of an edge.
        classes: C.
        hidden: channels.
        layers: how often parts are put together, at least 1.
        hops: k of the ego networks; 0 for whole graphs, the network of order 2 that it is compared with.
    """

    node_dim: int
    edge_dim: int
    classes: int = 2
    hidden: int = 16
    layers: int = 2
    hops: int = 1

    def __post_init__(self) -> None:
        if min(self.node_dim, self.classes, self.hidden, self.layers) < 1 or min(self.edge_dim, self.hops) < 0:
            raise ValueError(f"node_dim, classes, hidden, layers: expected at least 1, found {self}")


class SPEN(nn.Module):
    """Classes of graphs, or vectors of their nodes, by ego networks.

    Args:
        config: its sizes.
    """

    def __init__(self, config: SPENConfig) -> None:
        super().__init__()
        self.config, hidden = config, config.hidden
        widths = [1 + config.node_dim + config.edge_dim, *[hidden] * config.layers]
        self.layers = nn.ModuleList(SPENLayer(a, b) for a, b in pairwise(widths))
        self.parts_out = EquivariantLinear(2, 0, hidden, hidden)
        self.nodes_out = EquivariantLinear(2, 1, hidden, hidden)
        self.part, self.last = nn.Linear(hidden, hidden), nn.Linear(hidden, config.classes)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor) -> Tensor:
        """Logits (B, C) of graphs: features (n, F), edges (2, E), theirs (E, G), and the graph of each node (n,)."""
        pairs, parts = self._seen(x, edge_index, edge_attr, batch)
        told = F.leaky_relu(self.part(F.leaky_relu(self.parts_out(pairs, parts.mask), 0.1)), 0.1)
        graph = batch[parts.nodes[:, 0]]
        counts = torch.bincount(graph).clamp(min=1)
        mean = told.new_zeros(len(counts), told.shape[1]).index_add(0, graph, told) / counts[:, None]
        return self.last(mean)

    def node_embeddings(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor) -> Tensor:
        """Vectors (n, hidden) of the nodes."""
        pairs, parts = self._seen(x, edge_index, edge_attr, batch)
        return shared_nodes(self.nodes_out(pairs, parts.mask), parts, len(x))

    def save(self, directory: Path) -> None:
        """Write what `load` reads."""
        save_encoder(self, SYSTEM, self.config, directory)

    def _seen(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor) -> tuple[Tensor, Subgraphs]:
        n, config = len(x), self.config
        if x.shape != (n, config.node_dim) or edge_attr.shape != (edge_index.shape[1], config.edge_dim):
            wanted = f"(n, {config.node_dim}), (E, {config.edge_dim})"
            raise ValueError(f"x, edge_attr: expected {wanted}, found {tuple(x.shape)}, {tuple(edge_attr.shape)}")
        parts = ego_subgraphs(edge_index, n, config.hops) if config.hops else whole_graphs(edge_index, batch)
        dense = x.new_zeros(n, n, config.edge_dim).index_put(tuple(edge_index), edge_attr)
        edges = dense[parts.nodes[:, :, None], parts.nodes[:, None, :]] * parts.adjacency[..., None].to(x.dtype)
        own = torch.diag_embed((x[parts.nodes] * parts.mask[..., None]).movedim(-1, 1)).movedim(1, -1)
        pairs = torch.cat([parts.adjacency[..., None].to(x.dtype), own, edges], dim=-1)
        for layer in self.layers:
            pairs = layer(pairs, parts, n)
        return pairs, parts


def load(directory: Path) -> SPEN:
    """Read a network that was saved; in evaluation mode.

    Raises:
        ValueError: damaged; names the file.
    """
    try:
        model = SPEN(SPENConfig(**read_config(directory)["config"]))
    except TypeError as error:
        raise ValueError(f"{directory}: expected the configuration of a SPEN: {error}") from error
    load_weights(model, directory)
    return model.eval()
