"""Do distances of graphs count changed edges? D-SLA, the same without one of its losses, and contrastive learning.

Graphs of 20 nodes of one type: edges at random (Erdős and Rényi), rings with rewired edges (Watts and Strogatz), and
growth by preferential attachment (Barabási and Albert), a third each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.spen import triangles
from representation.probes import ridge_probe
from representation.structure.d_sla import (
    DSLA,
    GINConfig,
    GINEncoder,
    TypedGraph,
    make_candidates,
    perturb_graph,
    pretrain,
    typed_graph,
)

NODES, TRAINING, LABELLED, TEST, BATCH, STEPS = 20, 300, 100, 100, 32, 2000
DIM, LAYERS, MASK, MARGIN, TEMPERATURE = 48, 3, 0.2, 5.0, 0.2
WEAK, STRONG = (2, 4, 6), 12  # edges that copies lose, and as many that they gain
EDITS = (1, 2, 3, 4, 6, 8, 10, 12)
FAMILIES = ("random", "rings", "grown")
SIZES = GINConfig(1, 1, DIM, LAYERS)


def drawn_graph(family: str, rng: np.random.Generator) -> TypedGraph:
    """A graph of 20 nodes and about 40 edges."""
    pairs: set[tuple[int, int]] = set()
    if family == "random":
        pairs = {(a, b) for a in range(NODES) for b in range(a + 1, NODES) if rng.uniform() < 0.2}
    elif family == "rings":
        for a in range(NODES):
            for step in (1, 2):
                b = int(rng.integers(NODES)) if rng.uniform() < 0.2 else (a + step) % NODES
                if a != b:
                    pairs.add((min(a, b), max(a, b)))
    else:
        ends = [0, 1]
        for new in range(2, NODES):
            for old in set(rng.choice(ends, 2).tolist()):
                pairs.add((old, new))
                ends += [old, new]
    return typed_graph(torch.zeros(NODES, dtype=torch.long), dict.fromkeys(pairs, 0))


def drawn_graphs(count: int, seed: int) -> list[TypedGraph]:
    """Graphs of all families in turn."""
    rng = np.random.default_rng(seed)
    return [drawn_graph(FAMILIES[number % len(FAMILIES)], rng) for number in range(count)]


@dataclass(frozen=True)
class Scores:
    """How an encoder does on graphs that were held out.

    Attributes:
        rank: rank correlation of distances and changes.
        rank_each: mean over graphs of that among the copies of one.
        spread: standard deviation over mean of distance by change.
        apart: median, over pairs of graphs and copies of the first by `WEAK`, of how many times as far the second is.
        nearer: share of these in which the second is nearer than the copy.
        triangles: R² of their number by a linear probe.
        told: share of the graphs that are told from three copies, by family; empty without a head for it.
    """

    rank: float
    rank_each: float
    spread: float
    apart: float
    nearer: float
    triangles: float
    told: dict[str, float]


def run(options: BenchOptions) -> list[Claim]:
    """All claims, by seed."""
    steps, seeds = options.steps(STEPS), range(options.seeds)
    ours = [scores(trained(seed, steps), seed) for seed in seeds]
    without = [scores(trained(seed, steps, edit_weight=0.0), seed) for seed in seeds]
    no_margin = [scores(trained(seed, steps, margin_weight=0.0), seed) for seed in seeds]
    contrast = [scores(contrasted(SIZES, drawn_graphs(TRAINING, seed), steps, seed, WEAK[0]), seed) for seed in seeds]
    untrained = [scores(new_dsla(seed), seed) for seed in seeds]
    spread = tuple(-one.spread for one in ours)
    told = tuple(float(np.mean(list(one.told.values()))) for one in ours)
    return [
        Claim(
            "rank correlation of distances and edges changed: 1 to 12 lost, and as many gained",
            "contrastive",
            tuple(one.rank for one in ours),
            tuple(one.rank for one in contrast),
            0.08,
        ),
        Claim(
            "the same among the copies of one graph, mean over graphs",
            "contrastive",
            tuple(one.rank_each for one in ours),
            tuple(one.rank_each for one in contrast),
            0.08,
        ),
        Claim(
            "spread of distance by change, negated",
            "0.85 of the contrastive one's, negated",
            spread,
            tuple(-0.85 * one.spread for one in contrast),
        ),
        Claim(
            "spread of distance by change, negated",
            "without the loss of distances: by 1.2, negated",
            spread,
            tuple(-one.spread / 1.2 for one in without),
        ),
        Claim(
            "distance of other graphs by that of copies, median",
            "without the loss of other graphs",
            tuple(one.apart for one in ours),
            tuple(one.apart for one in no_margin),
        ),
        Claim(
            "without the loss of other graphs: share of them that are nearer than a copy",
            "asked",
            tuple(one.nearer for one in no_margin),
            (0.1,) * options.seeds,
        ),
        Claim(
            "share of other graphs that are nearer than a copy, negated",
            "without the loss of other graphs, negated",
            tuple(-one.nearer for one in ours),
            tuple(-one.nearer for one in no_margin),
            None,
        ),
        Claim(
            f"R² of the number of triangles by a linear probe, {LABELLED} labelled graphs",
            "contrastive",
            tuple(one.triangles for one in ours),
            tuple(one.triangles for one in contrast),
            0.1,
        ),
        Claim("graphs told from three changed copies", "asked", told, (0.5,) * options.seeds),
        *(
            Claim(
                f"graphs told from three changed copies, {family}",
                "untrained",
                tuple(one.told[family] for one in ours),
                tuple(one.told[family] for one in untrained),
                None,
            )
            for family in FAMILIES
        ),
    ]


def new_dsla(seed: int, edit_weight: float = 0.7, margin_weight: float = 0.5) -> DSLA:
    """D-SLA that has seen nothing yet."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DSLA(GINEncoder(SIZES), MARGIN, edit_weight, margin_weight)


def trained(seed: int, steps: int, edit_weight: float = 0.7, margin_weight: float = 0.5) -> DSLA:
    """D-SLA on graphs of all families."""
    dsla = new_dsla(seed, edit_weight, margin_weight)
    pretrain(dsla, drawn_graphs(TRAINING, seed), steps, seed, batch=BATCH, edits=(*WEAK, STRONG), mask=MASK)
    return dsla


def contrasted(config: GINConfig, graphs: Sequence[TypedGraph], steps: int, seed: int, edits: int) -> GINEncoder:
    """An encoder for which copies that lose and gain so many edges are alike, and other graphs are not (GraphCL)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, dim = GINEncoder(config), config.dim
        head = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))
    generator = torch.Generator().manual_seed(seed)
    masks = {"mask": MASK, "mask_type": encoder.mask_type}
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], 1e-3)
    for _ in range(steps):
        rows = torch.randperm(len(graphs), generator=generator)[:BATCH].tolist()
        made = [
            make_candidates(graphs[row], 2, hops=None, strong=False, edits=(edits,), generator=generator, **masks)[0]
            for row in rows
        ]
        u, v = (F.normalize(head(encoder(views)), dim=1) for views in zip(*made, strict=True))
        logits, own = u @ v.T / TEMPERATURE, torch.arange(len(rows))
        optimizer.zero_grad()
        ((F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2).backward()
        optimizer.step()
    return encoder.eval()


@torch.no_grad()
def scores(model: DSLA | GINEncoder, seed: int) -> Scores:
    """How it does on graphs that no training has seen."""
    encoder = model.encoder if isinstance(model, DSLA) else model
    graphs, generator = drawn_graphs(TEST, 1_000_000 + seed), torch.Generator().manual_seed(1_000_000 + seed)
    distances, changes = changed_copies(encoder, graphs, EDITS, generator)
    ratios = distance_ratios(encoder(graphs), distances[[EDITS.index(count) for count in WEAK]])
    return Scores(
        **agreement(distances.numpy(), changes.numpy()),
        apart=float(ratios.median()),
        nearer=float((ratios < 1).float().mean()),
        triangles=triangle_probe(encoder, graphs, seed),
        told={} if not isinstance(model, DSLA) else _told(model, graphs, generator),
    )


@torch.no_grad()
def changed_copies(
    encoder: GINEncoder, graphs: Sequence[TypedGraph], edits: Sequence[int], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Distances (K, B) of B graphs to a copy for each number of edits, and how many pairs of nodes each changed."""
    first, distances, changes = encoder(graphs), [], []
    for count in edits:
        copies = [perturb_graph(graph, count, generator=generator) for graph in graphs]
        distances.append((encoder([copy for copy, _ in copies]) - first).norm(dim=1))
        changes.append(torch.tensor([change for _, change in copies]))
    return torch.stack(distances), torch.stack(changes)


def agreement(distances: NDArray, changes: NDArray) -> dict[str, float]:
    """`rank`, `rank_each` and `spread` of `Scores`, of (K, B) distances and changes."""
    by_change = distances / changes
    each = [spearmanr(*columns).statistic for columns in zip(distances.T, changes.T, strict=True)]
    return {
        "rank": float(spearmanr(distances.ravel(), changes.ravel()).statistic),
        "rank_each": float(np.mean(each)),
        "spread": float(by_change.std() / by_change.mean()),
    }


def distance_ratios(vectors: Tensor, own: Tensor) -> Tensor:
    """How many times as far other graphs are as copies, (K * B * (B - 1),).

    Args:
        vectors: (B, D) of graphs.
        own: (K, B) distances of the K copies of each.
    """
    between = torch.cdist(vectors, vectors)
    apart = ~torch.eye(len(vectors), dtype=torch.bool)
    return (between / own[:, :, None])[:, apart].ravel()


def triangle_probe(encoder: GINEncoder, graphs: Sequence[TypedGraph], seed: int) -> float:
    """R² of the number of triangles of graphs by a linear probe on vectors of others."""
    labelled = drawn_graphs(LABELLED, 2_000_000 + seed)
    train, test = (
        (encoder(part).numpy(), np.array([float(triangles(graph.edges)) for graph in part]))
        for part in (labelled, graphs)
    )
    return ridge_probe(train, test, "triangles").score


def _told(dsla: DSLA, graphs: Sequence[TypedGraph], generator: torch.Generator) -> dict[str, float]:
    """Share of the graphs that score highest among copies that lose and gain 2, 4 and 6 edges, unmasked.

    Who knows nothing finds fewer than one in four: copies scatter about their graph, which therefore is seldom the
    extreme one of the four (one in eight, where they scatter evenly to both sides).
    """
    right = []
    for graph in graphs:
        copies = [perturb_graph(graph, count, generator=generator)[0] for count in WEAK]
        right.append(float(dsla.scores(dsla.encoder([graph, *copies])).argmax() == 0))
    return {name: float(np.mean(right[place :: len(FAMILIES)])) for place, name in enumerate(FAMILIES)}
