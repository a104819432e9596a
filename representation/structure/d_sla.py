"""D-SLA: an encoder of graphs whose distances count differences, trained on graphs that were changed on purpose.

A graph is changed by a known number of edges. The encoder learns to tell the graph from its changed copies, to put a
copy as far away as it has changes (up to a scale), and other graphs farther away than any copy. Distances then tell how
many relations of a scene differ from those of a goal.

Source: Graph Self-supervised Learning with Accurate Discrepancy Learning, Kim, Baek and Hwang, NeurIPS 2022
(arXiv 2202.02989). A graph has integer types of nodes (n,) and edges (2, E), each in both directions with an integer
type, and without loops: molecules as well as scenes; `of_graphs` takes torch_geometric's. Gives vectors (B, dim).

The distance of a copy is the number of pairs of nodes that were joined or parted: k deletions and k additions count
2 k. A changed graph may be isomorphic to the first, so that this is an upper bound. Deleted edges are not added again.
In place of batch normalisation, which would let copies see each other, layers are normalised node by node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.data.scene_graphs import SceneGraph

SYSTEM = "d_sla"
SCENE_KINDS = ("table", "block")
_LEAST = 1e-12  # of squared distances, whose root has no gradient at 0


@dataclass(frozen=True)
class TypedGraph:
    """A graph of types.

    Attributes:
        nodes: (n,) type of each node, from 0.
        edges: (2, E), each edge in both directions, no loops.
        types: (E,) type of each edge, from 0; the same in both directions.
    """

    nodes: Tensor
    edges: Tensor
    types: Tensor

    def pairs(self) -> dict[tuple[int, int], int]:
        """Type of each edge, by its nodes, the smaller first."""
        found = zip(*self.edges.tolist(), self.types.tolist(), strict=True)
        return {(a, b): kind for a, b, kind in found if a < b}


def typed_graph(nodes: Tensor, pairs: dict[tuple[int, int], int]) -> TypedGraph:
    """The graph of edges that are given once."""
    once = torch.tensor(sorted(pairs), dtype=torch.long).reshape(-1, 2).T
    kinds = torch.tensor([pairs[pair] for pair in sorted(pairs)], dtype=torch.long)
    return TypedGraph(nodes, torch.cat([once, once.flip(0)], dim=1), torch.cat([kinds, kinds]))


def of_scene(graph: SceneGraph) -> TypedGraph:
    """Contacts of a scene, 1 where one bears the other and 0 otherwise, between tables and blocks.

    Raises:
        ValueError: a thing of another kind.
    """
    unknown = {node.kind for node in graph.nodes} - set(SCENE_KINDS)
    if unknown:
        raise ValueError(f"nodes: expected kinds {list(SCENE_KINDS)}, found {sorted(unknown)}")
    borne = {tuple(sorted(pair)) for pair in graph.supports}
    nodes = torch.tensor([SCENE_KINDS.index(node.kind) for node in graph.nodes])
    return typed_graph(nodes, {pair: int(pair in borne) for pair in graph.contacts})


def of_graphs(data: Any) -> list[TypedGraph]:
    """Graphs of an object with `.x`, `.edge_index`, `.edge_attr` and `.batch`, such as torch_geometric's.

    Types of nodes (n,) or (n, 1) and of edges (E,) or (E, 1) are whole numbers. Without `edge_attr` all edges are of
    type 0, without `batch` there is one graph.

    Raises:
        ValueError: types are no whole numbers, an edge is a loop or has no opposite of its type, or joins two graphs.
    """
    x, edges = data.x.reshape(len(data.x)), data.edge_index
    types, batch = (getattr(data, name, None) for name in ("edge_attr", "batch"))
    types = x.new_zeros(edges.shape[1]) if types is None else types.reshape(edges.shape[1])
    batch = torch.zeros(len(x), dtype=torch.long) if batch is None else batch
    for name, found in (("x", x), ("edge_attr", types)):
        if not torch.equal(found, found.round()):
            raise ValueError(f"{name}: expected whole numbers, found others")
    x, types = x.long(), types.long()
    ways = {(a, b, kind) for a, b, kind in zip(*edges.tolist(), types.tolist(), strict=True)}
    if len(ways) < edges.shape[1] or any(a == b or (b, a, kind) not in ways for a, b, kind in ways):
        raise ValueError("edge_index: expected each edge once in both directions, with one type, and no loops")
    if (batch[edges[0]] != batch[edges[1]]).any():
        raise ValueError("batch: expected both nodes of each edge in the same graph, found others")
    graphs = []
    for number in batch.unique().tolist():
        nodes = (batch == number).nonzero()[:, 0]
        own = batch[edges[0]] == number
        place = torch.full((len(x),), -1).index_copy(0, nodes, torch.arange(len(nodes)))
        graphs.append(TypedGraph(x[nodes], place[edges[:, own]], types[own]))
    return graphs


def neighbourhood(graph: TypedGraph, centre: int, hops: int) -> set[int]:
    """Nodes at most so many edges from one."""
    found = {centre}
    for _ in range(hops):
        near = torch.isin(graph.edges[0], torch.tensor(sorted(found)))
        found |= set(graph.edges[1, near].tolist())
    return found


def perturb_graph(
    graph: TypedGraph,
    n_edits: int,
    *,
    within: set[int] | None = None,
    generator: torch.Generator | None = None,
) -> tuple[TypedGraph, int]:
    """A copy in which edges are deleted and as many added, where pairs of nodes had none.

    Args:
        graph: stays as it is.
        n_edits: deletions, and additions; fewer where there are not so many edges, or pairs without.
        within: nodes between which edges change; all by default.
        generator: draws; types of new edges are drawn from those that are there.

    Returns:
        The copy, and the number of pairs that were joined or parted.
    """
    pairs = graph.pairs()
    nodes = sorted(within) if within is not None else list(range(len(graph.nodes)))
    inside = set(nodes)
    there = [pair for pair in sorted(pairs) if pair[0] in inside and pair[1] in inside]
    absent = [(a, b) for i, a in enumerate(nodes) for b in nodes[i + 1 :] if (a, b) not in pairs]
    count = min(n_edits, len(there), len(absent))
    gone = torch.randperm(len(there), generator=generator)[:count].tolist()
    new = torch.randperm(len(absent), generator=generator)[:count].tolist()
    kinds = [pairs[there[place]] for place in torch.randint(max(len(there), 1), (count,), generator=generator).tolist()]
    deleted = {there[place] for place in gone}
    changed = {pair: kind for pair, kind in pairs.items() if pair not in deleted}
    changed |= {absent[place]: kind for place, kind in zip(new, kinds, strict=True)}
    return typed_graph(graph.nodes, changed), 2 * count


def masked(
    graph: TypedGraph, share: float, mask: int, within: set[int] | None, generator: torch.Generator | None
) -> TypedGraph:
    """A copy in which a share of the nodes, rounded, has the type `mask`."""
    nodes = torch.tensor(sorted(within) if within is not None else list(range(len(graph.nodes))))
    chosen = nodes[torch.randperm(len(nodes), generator=generator)[: round(share * len(nodes))]]
    return TypedGraph(graph.nodes.index_fill(0, chosen, mask), graph.edges, graph.types)


def make_candidates(
    graph: TypedGraph,
    n: int = 4,
    strength: float = 0.2,
    mask: float = 0.8,
    hops: int | None = 3,
    strong: bool = True,
    *,
    mask_type: int,
    edits: Sequence[int] | None = None,
    growing: bool = True,
    generator: torch.Generator | None = None,
) -> tuple[list[TypedGraph], Tensor]:
    """A graph, and copies that are changed more and more; nodes are masked in all of them.

    Args:
        graph: stays as it is.
        n: candidates: the graph itself and n - 1 copies.
        strength: share of the edges that the first copy changes; the k-th changes k times as many.
        mask: share of the nodes that is masked.
        hops: the changes are at most so many edges from a node that is drawn; anywhere if None.
        strong: whether one more copy is changed everywhere, n times as much.
        mask_type: of masked nodes.
        edits: how many edges each copy deletes and adds, the strong one last, in place of `strength`.
        growing: whether later copies change more; all change as many as the first otherwise.
        generator: draws.

    Returns:
        The candidates, and how many pairs of nodes each changed (N,).

    Raises:
        ValueError: `edits` of another number of copies.
    """
    if edits is not None and len(edits) != n - 1 + strong:
        raise ValueError(f"edits: expected a number for each of {n - 1 + strong} copies, found {list(edits)}")
    centre = int(torch.randint(len(graph.nodes), (), generator=generator))
    within = None if hops is None else neighbourhood(graph, centre, hops)
    found, distances = [masked(graph, mask, mask_type, within, generator)], [0]
    places = [within] * (n - 1) + [None] * strong
    if edits is None:
        factors = range(1, len(places) + 1) if growing else [1] * len(places)
        counts = [
            k * max(1, int(strength * _edges_inside(graph, place))) for k, place in zip(factors, places, strict=True)
        ]
    else:
        counts = list(edits) if growing else [edits[0]] * len(places)
    for place, count in zip(places, counts, strict=True):
        copy, distance = perturb_graph(graph, count, within=place, generator=generator)
        found.append(masked(copy, mask, mask_type, place, generator))
        distances.append(distance)
    return found, torch.tensor(distances, dtype=torch.float32)


def _edges_inside(graph: TypedGraph, within: set[int] | None) -> int:
    return sum(within is None or (a in within and b in within) for a, b in graph.pairs())


def discrimination_loss(scores: Tensor) -> Tensor:
    """Cross-entropy of telling the graph, the first, from its copies by scores (B, N)."""
    return F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long, device=scores.device))


def _norms(differences: Tensor) -> Tensor:
    return differences.square().sum(dim=-1).clamp(min=_LEAST).sqrt()


def edit_loss(z: Tensor, distances: Tensor) -> Tensor:
    """Mean over pairs of copies of (d_i / e_i - d_j / e_j)², d being distances of vectors and e of graphs.

    Args:
        z: (B, N, D), the graph first.
        distances: (B, N), 0 for the graph; copies that did not change are left out.
    """
    changed = distances[:, 1:] > 0
    ratios = _norms(z[:, 1:] - z[:, :1]) / distances[:, 1:].clamp(min=1.0)
    i, j = torch.triu_indices(ratios.shape[1], ratios.shape[1], 1, device=z.device)
    counts = changed[:, i] & changed[:, j]
    return ((ratios[:, i] - ratios[:, j]).square() * counts).sum() / counts.sum().clamp(min=1)


def margin_loss(z: Tensor, margin: float, exclude_last: bool = True) -> Tensor:
    """Mean of max(0, margin + d_i - distance of two graphs), over graphs, others of the batch, and copies.

    Args:
        z: (B, N, D), B at least 2.
        margin: by how much farther other graphs should be.
        exclude_last: whether the last copy is the strong one, and left out.
    """
    copies = z[:, 1 : -1 if exclude_last else None]
    own = _norms(copies - z[:, :1])
    first = z[:, 0]
    other = _norms(first[:, None] - first[None])
    excess = F.relu(margin + own[:, None, :] - other[:, :, None])
    apart = ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    return excess[apart].mean()


@dataclass(frozen=True)
class GINConfig:
    """Sizes of an encoder.

    Attributes:
        node_types: how many there are, without that of masked nodes.
        edge_types: likewise.
        dim: numbers of a vector.
        layers: how often nodes see their neighbours.
    """

    node_types: int
    edge_types: int
    dim: int = 300
    layers: int = 5


class GINEncoder(nn.Module):
    """A graph isomorphism network with types of edges: sums over neighbours, then a perceptron; means over nodes.

    Args:
        config: its sizes.
    """

    def __init__(self, config: GINConfig) -> None:
        super().__init__()
        self.config, self.width, dim = config, config.dim, config.dim
        self.nodes = nn.Embedding(config.node_types + 1, dim)
        self.edges = nn.ModuleList(nn.Embedding(config.edge_types + 1, dim) for _ in range(config.layers))
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim), nn.LayerNorm(dim))
            for _ in range(config.layers)
        )

    @property
    def mask_type(self) -> int:
        """Type of a masked node."""
        return self.config.node_types

    def forward(self, graphs: Sequence[TypedGraph]) -> Tensor:
        """Vectors (B, dim) of B graphs.

        Raises:
            ValueError: a type that is not known.
        """
        sizes = torch.tensor([len(graph.nodes) for graph in graphs])
        starts = sizes.cumsum(0) - sizes
        nodes = torch.cat([graph.nodes for graph in graphs])
        edges = torch.cat([graph.edges + start for graph, start in zip(graphs, starts, strict=True)], dim=1)
        types = torch.cat([graph.types for graph in graphs])
        for name, found, most in (("nodes", nodes, self.mask_type), ("types", types, self.config.edge_types - 1)):
            if len(found) and not 0 <= int(found.min()) <= int(found.max()) <= most:
                raise ValueError(
                    f"{name}: expected types from 0 to {most}, found {int(found.min())} to {int(found.max())}"
                )
        x = self.nodes(nodes)
        for number, (layer, table) in enumerate(zip(self.layers, self.edges, strict=True)):
            own = x + table.weight[-1]  # a loop has a type of its own
            x = layer(own.index_add(0, edges[0], x[edges[1]] + table(types)))
            x = F.relu(x) if number < len(self.layers) - 1 else x
        number = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
        return x.new_zeros(len(sizes), self.width).index_add(0, number, x) / sizes[:, None]

    def save(self, directory: Path) -> None:
        """Write what `load` reads."""
        save_encoder(self, SYSTEM, self.config, directory)


class DSLA(nn.Module):
    """The three losses around an encoder.

    Args:
        encoder: what is trained.
        margin: by how much farther other graphs should be than copies.
        edit_weight: of the loss of distances.
        margin_weight: of the loss of other graphs.
    """

    def __init__(
        self, encoder: GINEncoder, margin: float = 5.0, edit_weight: float = 0.7, margin_weight: float = 0.5
    ) -> None:
        super().__init__()
        self.encoder, self.margin = encoder, margin
        self.edit_weight, self.margin_weight = edit_weight, margin_weight
        dim = encoder.width
        self.head = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 1))

    def scores(self, z: Tensor) -> Tensor:
        """How much each of vectors (..., dim) looks like a graph that was not changed (...)."""
        return self.head(z)[..., 0]

    def forward(self, candidates: Sequence[Sequence[TypedGraph]], distances: Tensor, strong: bool = True) -> Tensor:
        """The loss of B graphs with N candidates each and their distances (B, N)."""
        z = self.encoder([graph for one in candidates for graph in one]).unflatten(0, distances.shape)
        total = discrimination_loss(self.scores(z))
        if self.edit_weight:
            total = total + self.edit_weight * edit_loss(z, distances)
        if self.margin_weight:
            total = total + self.margin_weight * margin_loss(z, self.margin, exclude_last=strong)
        return total


def pretrain(
    dsla: DSLA,
    graphs: Sequence[TypedGraph],
    steps: int,
    seed: int,
    *,
    batch: int = 32,
    strength: float = 0.2,
    edits: Sequence[int] | None = None,
    mask: float = 0.2,
    hops: int | None = None,
    progress: bool = False,
) -> None:
    """Train on graphs without labels; the module is then in evaluation mode.

    Each graph has three copies and a strong one. Without the loss of distances all of them change as many edges.

    Args:
        dsla: is trained.
        graphs: of types that its encoder knows.
        steps: of the optimizer.
        seed: of the draws.
        batch: graphs of a step.
        strength: see `make_candidates`, as for `edits`, `mask` and `hops`.
        edits: four numbers.
        mask: share.
        hops: reach.
        progress: whether a bar is shown.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(dsla.parameters(), 1e-3)
    dsla.train()
    for _ in tqdm(range(steps), desc="steps", unit="step", disable=not progress):
        rows = torch.randperm(len(graphs), generator=generator)[:batch].tolist()
        mask_type = dsla.encoder.mask_type
        made = [
            make_candidates(
                graphs[row],
                4,
                strength,
                mask,
                hops,
                mask_type=mask_type,
                edits=edits,
                growing=dsla.edit_weight > 0,
                generator=generator,
            )
            for row in rows
        ]
        loss = dsla([one for one, _ in made], torch.stack([distances for _, distances in made]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    dsla.eval()


@torch.no_grad()
def discrepancy(encoder: GINEncoder, a: TypedGraph, b: TypedGraph) -> float:
    """Distance of the vectors of two graphs: about how many relations differ, up to a scale."""
    first, second = encoder([a, b])
    return float((first - second).norm())


def load(directory: Path) -> GINEncoder:
    """Read an encoder that was saved; in evaluation mode.

    Raises:
        ValueError: damaged; names the file.
    """
    try:
        encoder = GINEncoder(GINConfig(**read_config(directory)["config"]))
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{directory}: expected the configuration of a GIN encoder: {error}") from error
    load_weights(encoder, directory)
    return encoder.eval()
