"""SPEN: graphs by their ego networks, each seen by linear maps that do not mind the numbers of nodes.

Around every node lies its ego network: the nodes at most k edges away, and the edges among them. Features of its pairs
of nodes, and of its nodes, go through all linear maps that permutations commute with, what comes out is put together
over the nodes and pairs that ego networks share, and goes on. Loops and triangles that message passing cannot see are
seen here, at a cost of the sum of m² over ego networks of m nodes instead of n² of the graph.

Source: Subgraph Permutation Equivariant Networks, Mitton and Murray-Smith, TMLR 2023 (arXiv 2111.11840); the maps are
the standard basis of permutation-equivariant ones (Maron et al., ICLR 2019). No code was published, and details beyond
the abstract are a reconstruction. A batch of graphs is node features (n, F), edges (2, E), each in both directions,
features of the edges (E, G) and the graph of each node (n,); it gives logits (B, C), or vectors of nodes.

Decided here: sums inside an ego network are divided by m, and what is told of ego networks is summed over the graph, so
that numbers of things can be told; that is then normalised over the batch, as are features after every layer, by what
is there and not by padding. Ego networks go through the maps in batches of like size. Weights are shared by ego
networks of all sizes; `per_size` adds what is learned of each size, and is nothing for a size that was never seen. An
ego network of more than 200 nodes is an error: a sample of its nodes would not follow the graph's. Ego networks are no
stronger than the maps: some graphs, such as the rook's and Shrikhande's, stay alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, eye_array
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.checkpoint import load_weights, read_config, save_encoder

SYSTEM = "spen"
BASIS = {(2, 2): 15, (2, 1): 5, (1, 2): 5, (1, 1): 2, (2, 0): 2, (1, 0): 1, (0, 0): 1, (0, 1): 1, (0, 2): 2}
"""How many maps there are from tensors over so many nodes to tensors over so many."""

MOST_NODES = 200  # of an ego network
SIZES = 32  # up to which `per_size` has weights of its own
SLOPE = 0.1  # of leaky ReLU below 0


@dataclass(frozen=True)
class SubgraphBatch:
    """Parts of a graph that are alike in size, padded to M nodes.

    Attributes:
        nodes: (S, M) nodes of the whole graph, 0 where there is none.
        mask: (S, M), which there are.
        adjacency: (S, M, M) of 0 and 1.
        edges: (S, M, M) the edge that a pair is; the number of edges where it is none.
        centre: (S, M), the node that a part lies around; nowhere where parts are whole graphs.
    """

    nodes: Tensor
    mask: Tensor
    adjacency: Tensor
    edges: Tensor
    centre: Tensor

    @property
    def pairs(self) -> Tensor:
        """(S, M, M), pairs of nodes that there are."""
        return self.mask[:, :, None] & self.mask[:, None, :]


def ego_subgraphs(edge_index: Tensor, num_nodes: int, hops: int) -> list[SubgraphBatch]:
    """The ego network of each node, num_nodes in all; nothing is made that grows as num_nodes².

    Those of 1 node come together, those of 2 to 3, 4 to 7 and so on, each in rising order of their nodes, so that a
    batch holds less than four times the m² pairs of its ego networks of m nodes.

    Raises:
        ValueError: nodes that are not there, or an ego network of more than 200 nodes.
    """
    _check_nodes(edge_index, num_nodes)
    rows, columns = edge_index.numpy()
    step = coo_array((np.ones(len(rows)), (rows, columns)), shape=(num_nodes, num_nodes)).tocsr()
    near = eye_array(num_nodes, format="csr")
    for _ in range(hops):
        near = near + near @ step
    near = csr_array(near)
    near.sort_indices()
    return _batches(np.diff(near.indptr), near.indices, edge_index, around=True)


def whole_graphs(edge_index: Tensor, batch: Tensor) -> list[SubgraphBatch]:
    """Each graph as one part, B in all; together and in order as `ego_subgraphs`.

    Raises:
        ValueError: as `ego_subgraphs`.
    """
    _check_nodes(edge_index, len(batch))
    return _batches(torch.bincount(batch).numpy(), batch.argsort(stable=True).numpy(), edge_index, around=False)


def _check_nodes(edge_index: Tensor, n: int) -> None:
    if edge_index.ndim != 2 or len(edge_index) != 2:
        raise ValueError(f"edge_index: expected (2, E), found {tuple(edge_index.shape)}")
    if edge_index.numel() and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < n:
        raise ValueError(f"edge_index: expected nodes from 0 to {n - 1}, found up to {int(edge_index.max())}")


def _batches(sizes: NDArray, members: NDArray, edge_index: Tensor, around: bool) -> list[SubgraphBatch]:
    """Parts of so many nodes, the first of which are `members[: sizes[0]]`; `around` the node of their number."""
    if len(sizes) and sizes.max() > MOST_NODES:
        raise ValueError(f"edge_index: expected parts of at most {MOST_NODES} nodes, found one of {sizes.max()}")
    classes, starts = size_classes(sizes), np.cumsum(sizes) - sizes
    return [
        _batch(np.flatnonzero(classes == one), sizes, starts, members, edge_index, around) for one in np.unique(classes)
    ]


def size_classes(sizes: NDArray) -> NDArray:
    """What parts of so many nodes come together by: the power of two that their size has reached."""
    return np.frexp(sizes)[1]


def _batch(
    parts: NDArray, sizes: NDArray, starts: NDArray, members: NDArray, edge_index: Tensor, around: bool
) -> SubgraphBatch:
    """Some of the parts of `_batches`, by number."""
    within = np.arange(sizes[parts].max())
    mask = within < sizes[parts, None]
    places = np.where(mask, starts[parts, None] + within, 0)
    nodes = torch.from_numpy(np.where(mask, members[places], 0).astype(np.int64))
    n = int(members.max()) + 1
    wanted = nodes[:, :, None] * n + nodes[:, None, :]
    keys, order = (edge_index[0] * n + edge_index[1]).sort()
    place = torch.searchsorted(keys, wanted).clamp(max=max(len(keys) - 1, 0))
    there = torch.from_numpy(mask)
    found = there[:, :, None] & there[:, None, :]
    found = found & (keys[place] == wanted) if len(keys) else torch.zeros_like(found)
    edges = torch.where(found, order[place] if len(keys) else 0, len(keys))
    centre = there & (nodes == torch.from_numpy(parts)[:, None]) if around else torch.zeros_like(there)
    return SubgraphBatch(nodes, there, found.float(), edges, centre)


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
        per_size: whether something is added to weights and bias for each size of up to 32 nodes.
    """

    def __init__(self, order_in: int, order_out: int, c_in: int, c_out: int, per_size: bool = False) -> None:
        super().__init__()
        if (order_in, order_out) not in BASIS or min(c_in, c_out) < 1:
            found = (order_in, order_out, c_in, c_out)
            raise ValueError(f"orders, channels: expected 0 to 2, at least 1, found {found}")
        self.order_in, self.order_out = order_in, order_out
        count, biases = BASIS[order_in, order_out], 2 if order_out == 2 else 1
        self.weight = nn.Parameter(torch.randn(c_in, count, c_out) * (2 / (c_in * count)) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(biases, c_out))
        shapes = ((SIZES + 1, c_in, count, c_out), (SIZES + 1, biases, c_out)) if per_size else ()
        self.by_size = nn.ParameterList(torch.zeros(*shape) for shape in shapes)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Tensors of `order_out` with c_out channels; 0 where nodes are absent."""
        basis = equivariant_basis(x, self.order_in, self.order_out, mask)
        out = torch.einsum("...cb,cbh->...h", basis, self.weight)
        bias = self.bias.expand(len(mask), -1, -1)
        if len(self.by_size):
            sizes = mask.sum(dim=1)
            own = torch.where(sizes <= SIZES, sizes, 0)  # no part has 0 nodes
            out = out + torch.einsum("s...cb,scbh->s...h", basis, self.by_size[0][own])
            bias = bias + self.by_size[1][own]
        there = mask.to(x.dtype)
        if self.order_out == 0:
            return out + bias[:, 0]
        if self.order_out == 1:
            return out + there[:, :, None] * bias[:, None, 0]
        pairs = there[:, :, None] * there[:, None, :]
        return (
            out
            + pairs[..., None] * bias[:, None, None, 0]
            + torch.diag_embed(there)[..., None] * bias[:, None, None, 1]
        )


class SPENLayer(nn.Module):
    """Pairs and nodes to pairs and nodes, put together over all parts that hold them, and taken apart again.

    Args:
        c_in: channels of pairs.
        c_out: channels of pairs and nodes that go out.
        nodes_in: channels of nodes; 0 where only pairs come in.
        per_size: see `EquivariantLinear`.
    """

    def __init__(self, c_in: int, c_out: int, nodes_in: int = 0, per_size: bool = False) -> None:
        super().__init__()
        self.maps = nn.ModuleDict()
        for order_in, channels in ((2, c_in), (1, nodes_in)):
            for order_out in (1, 2) if channels else ():
                name = f"{order_in}_{order_out}"
                self.maps[name] = EquivariantLinear(order_in, order_out, channels, c_out, per_size)
        self.pairs_norm, self.nodes_norm = nn.BatchNorm1d(c_out), nn.BatchNorm1d(c_out)
        self.pairs_mix, self.nodes_mix = nn.Linear(2 * c_out, c_out), nn.Linear(2 * c_out, c_out)

    def forward(
        self, pairs: Sequence[Tensor], nodes: Sequence[Tensor] | None, parts: Sequence[SubgraphBatch], n: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Pairs (S, M, M, c_out) and nodes (S, M, c_out) of the parts of a graph of n nodes, for each batch of them.

        Between the maps all that there is of all batches lies side by side, without padding.
        """
        told: dict[int, list[Tensor]] = {1: [], 2: []}
        for number, part in enumerate(parts):
            for order, there in ((1, part.mask), (2, part.pairs)):
                new = self.maps[f"2_{order}"](pairs[number], part.mask)
                if nodes is not None:
                    new = new + self.maps[f"1_{order}"](nodes[number], part.mask)
                told[order].append(new[there])
        around = F.leaky_relu(self.nodes_norm(torch.cat(told[1])), SLOPE)
        across = F.leaky_relu(self.pairs_norm(torch.cat(told[2])), SLOPE)
        around = torch.cat([around, shared(around, node_keys(parts))], dim=-1)
        across = torch.cat([across, shared(across, pair_keys(parts, n))], dim=-1)
        return (
            taken_apart(F.leaky_relu(self.pairs_mix(across), SLOPE), [part.pairs for part in parts]),
            taken_apart(F.leaky_relu(self.nodes_mix(around), SLOPE), [part.mask for part in parts]),
        )


def node_keys(parts: Sequence[SubgraphBatch]) -> Tensor:
    """(Q,) nodes of the whole graph that the nodes of all parts are."""
    return torch.cat([part.nodes[part.mask] for part in parts])


def pair_keys(parts: Sequence[SubgraphBatch], n: int) -> Tensor:
    """(P,) numbers of the pairs of nodes of the whole graph of n nodes that the pairs of all parts are."""
    return torch.cat([(part.nodes[:, :, None] * n + part.nodes[:, None, :])[part.pairs] for part in parts])


def shared(x: Tensor, keys: Tensor) -> Tensor:
    """For each row (P, C) the mean of the rows with the same key (P,)."""
    _, place = keys.unique(return_inverse=True)
    return means(x, place, int(place.max()) + 1)[place]


def means(x: Tensor, place: Tensor, count: int) -> Tensor:
    """Means (count, C) of the rows (P, C) of each place (P,)."""
    numbers = torch.bincount(place, minlength=count).clamp(min=1)
    return x.new_zeros(count, x.shape[-1]).index_add(0, place, x) / numbers[:, None]


def taken_apart(x: Tensor, masks: Sequence[Tensor]) -> list[Tensor]:
    """Rows (P, C) where the masks, one after the other, say so; 0 elsewhere: (..., C) for each mask (...)."""
    rows = x.split([int(mask.sum()) for mask in masks])
    return [
        x.new_zeros(*mask.shape, x.shape[-1]).masked_scatter(mask[..., None], row)
        for mask, row in zip(masks, rows, strict=True)
    ]


@dataclass(frozen=True)
class SPENConfig:
    """Sizes of a network.

    Attributes:
        node_dim: features F of a node.
        edge_dim: features G of an edge.
        hidden: channels.
        layers: how often parts are put together.
        hops: k of the ego networks; 0 for whole graphs.
        classes: C.
        pool: whether what ego networks tell is summed over a graph, or its mean taken.
        mark_ego: whether each ego network knows the node that it lies around.
        per_size: whether ego networks of each size have weights of their own beside the shared ones.
    """

    node_dim: int
    edge_dim: int
    hidden: int = 16
    layers: int = 3
    hops: int = 1
    classes: int = 2
    pool: Literal["sum", "mean"] = "sum"
    mark_ego: bool = False
    per_size: bool = False

    def __post_init__(self) -> None:
        if min(self.node_dim, self.classes, self.hidden, self.layers) < 1 or min(self.edge_dim, self.hops) < 0:
            raise ValueError(f"node_dim, classes, hidden, layers: expected at least 1, found {self}")
        if self.pool not in ("sum", "mean"):
            raise ValueError(f"pool: expected sum or mean, found {self.pool!r}")


class SPEN(nn.Module):
    """Classes of graphs, or vectors of their nodes, by ego networks.

    Args:
        config: its sizes.
    """

    def __init__(self, config: SPENConfig) -> None:
        super().__init__()
        self.config, hidden, own = config, config.hidden, config.per_size
        first = 1 + config.node_dim + config.edge_dim + config.mark_ego
        later = (SPENLayer(hidden, hidden, hidden, own) for _ in range(config.layers - 1))
        self.layers = nn.ModuleList([SPENLayer(first, hidden, 0, own), *later])
        self.pairs_out = EquivariantLinear(2, 0, hidden, hidden, own)
        self.nodes_out = EquivariantLinear(1, 0, hidden, hidden, own)
        self.part_norm, self.graph_norm = nn.BatchNorm1d(hidden), nn.BatchNorm1d(hidden)
        self.part = nn.Linear(hidden, hidden)
        self.last = nn.Sequential(nn.Linear(hidden, hidden), nn.LeakyReLU(SLOPE), nn.Linear(hidden, config.classes))

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor) -> Tensor:
        """Logits (B, C) of graphs: features (n, F), edges (2, E), theirs (E, G), and the graph of each node (n,).

        Raises:
            ValueError: other shapes, or graphs that are not numbered from 0 on.
        """
        pairs, nodes, parts = self._seen(x, edge_index, edge_attr, batch)
        told = torch.cat(
            [
                self.pairs_out(own_pairs, part.mask) + self.nodes_out(own_nodes, part.mask)
                for own_pairs, own_nodes, part in zip(pairs, nodes, parts, strict=True)
            ]
        )
        told = F.leaky_relu(self.part(F.leaky_relu(self.part_norm(told), SLOPE)), SLOPE)
        graph = batch[torch.cat([part.nodes[:, 0] for part in parts])]
        counts = torch.bincount(graph)
        whole = told.new_zeros(len(counts), told.shape[1]).index_add(0, graph, told)
        if self.config.pool == "mean":
            whole = whole / counts[:, None]
        return self.last(self.graph_norm(whole))

    def node_embeddings(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor) -> Tensor:
        """Vectors (n, hidden) of the nodes; arguments and errors as of `forward`."""
        _, nodes, parts = self._seen(x, edge_index, edge_attr, batch)
        told = torch.cat([own[part.mask] for own, part in zip(nodes, parts, strict=True)])
        return means(told, node_keys(parts), len(x))

    def classify(self, graph: Any) -> Tensor:
        """Logits of an object with `.x`, `.edge_index`, `.edge_attr` and `.batch`, such as torch_geometric's.

        The latter two may be missing or None, where edges have no features and where there is one graph.
        """
        edge_attr, batch = getattr(graph, "edge_attr", None), getattr(graph, "batch", None)
        edge_attr = graph.x.new_zeros(graph.edge_index.shape[1], 0) if edge_attr is None else edge_attr
        batch = torch.zeros(len(graph.x), dtype=torch.long) if batch is None else batch
        return self(graph.x, graph.edge_index, edge_attr, batch)

    def save(self, directory: Path) -> None:
        """Write what `load` reads."""
        save_encoder(self, SYSTEM, self.config, directory)

    def _seen(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor
    ) -> tuple[list[Tensor], list[Tensor], list[SubgraphBatch]]:
        n, config = len(x), self.config
        if x.shape != (n, config.node_dim) or edge_attr.shape != (edge_index.shape[1], config.edge_dim):
            wanted = f"(n, {config.node_dim}), (E, {config.edge_dim})"
            raise ValueError(f"x, edge_attr: expected {wanted}, found {tuple(x.shape)}, {tuple(edge_attr.shape)}")
        if not n or batch.shape != (n,) or int(batch.min()) < 0 or not torch.bincount(batch).all():
            raise ValueError(f"batch: expected the graph of each of {n} nodes, from 0 on, found {tuple(batch.shape)}")
        if not (x.isfinite().all() and edge_attr.isfinite().all()):
            raise ValueError("x, edge_attr: expected finite numbers, found others")
        parts = ego_subgraphs(edge_index, n, config.hops) if config.hops else whole_graphs(edge_index, batch)
        pairs, nodes = self.layers[0]([self._pairs(part, x, edge_attr) for part in parts], None, parts, n)
        for layer in self.layers[1:]:
            pairs, nodes = layer(pairs, nodes, parts, n)
        return pairs, nodes, parts

    def _pairs(self, part: SubgraphBatch, x: Tensor, edge_attr: Tensor) -> Tensor:
        """(S, M, M, C): edges and their features between nodes, and on the diagonal those of the nodes."""
        own = [x[part.nodes] * part.mask[..., None]]
        if self.config.mark_ego:
            own.append(part.centre[..., None].to(x.dtype))
        diagonal = torch.diag_embed(torch.cat(own, dim=-1).movedim(-1, 1)).movedim(1, -1)
        edges = F.pad(edge_attr, (0, 0, 0, 1))[part.edges]
        return torch.cat([part.adjacency[..., None].to(x.dtype), diagonal, edges], dim=-1)


class GlobalPermutationNet(SPEN):
    """The same layers on whole graphs, which SPEN is compared with: of n² entries, and blinder.

    Args:
        config: its sizes; the ego networks are left out.
    """

    def __init__(self, config: SPENConfig) -> None:
        super().__init__(replace(config, hops=0))


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
