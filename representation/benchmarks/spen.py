"""Can triangles be told? Graphs whose nodes all have four neighbours: SPEN, the same on whole graphs, and a GIN.

All such graphs look alike to message passing, and to maps of order 2 on the whole graph. The class of a graph is
whether it has more triangles than the median.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from representation.benchmarks.claims import BenchOptions, Claim
from representation.structure.classify_scenes import PlainGraph, accuracy, fit, logits_of
from representation.structure.d_sla import GINConfig, GINEncoder, TypedGraph
from representation.structure.spen import SPEN, SPENConfig, ego_subgraphs

NODES, DEGREE, GRAPHS, HELD_OUT, STEPS, HIDDEN, LAYERS = 20, 4, 300, 60, 300, 16, 2
SIZES = (100, 200, 400, 800, 1600)


def regular_graph(rng: np.random.Generator) -> torch.Tensor:
    """Edges (2, E) of a random graph of 20 nodes with four neighbours each."""
    while True:
        ends = rng.permutation(np.repeat(np.arange(NODES), DEGREE)).reshape(-1, 2)
        pairs = {(int(min(pair)), int(max(pair))) for pair in ends if pair[0] != pair[1]}
        if len(pairs) == NODES * DEGREE // 2:
            once = torch.tensor(sorted(pairs)).T
            return torch.cat([once, once.flip(0)], dim=1)


def triangles(edge_index: torch.Tensor) -> int:
    """How many there are."""
    n = int(edge_index.max()) + 1
    adjacency = torch.zeros(n, n).index_put(tuple(edge_index), torch.tensor(1.0))
    return round(float((adjacency @ adjacency @ adjacency).trace()) / 6)


def drawn_graphs(seed: int) -> list[PlainGraph]:
    """Graphs with their classes."""
    rng = np.random.default_rng(seed)
    edges = [regular_graph(rng) for _ in range(GRAPHS)]
    counts = np.array([triangles(one) for one in edges])
    return [PlainGraph(torch.ones(NODES, 1), e, int(c > np.median(counts))) for e, c in zip(edges, counts, strict=True)]


class GIN(nn.Module):
    """The encoder of `d_sla` with a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = GINEncoder(GINConfig(1, 1, 48, 3)), nn.Linear(48, 2)

    def logits(self, graphs: list[PlainGraph]) -> torch.Tensor:
        """Logits (B, 2) of graphs."""
        typed = [
            TypedGraph(
                torch.zeros(len(graph.x), dtype=torch.long),
                graph.edge_index,
                torch.zeros(graph.edge_index.shape[1], dtype=torch.long),
            )
            for graph in graphs
        ]
        return self.head(self.encoder(typed))


def run(options: BenchOptions) -> list[Claim]:
    """Accuracy on graphs that were held out, by seed."""
    found = [scores(seed, options.steps(STEPS)) for seed in range(options.seeds)]
    ours, whole, gin, common = (tuple(one[name] for one in found) for name in ("ego", "whole", "GIN", "common"))
    task = "many or few triangles in graphs of four neighbours each"
    slopes = exponents()
    seeds = options.seeds
    return [
        Claim(task, "asked", ours, (0.95,) * seeds),
        Claim(task, "GIN", ours, gin, 0.3),
        Claim(task, "maps on whole graphs", ours, whole, 0.3),
        Claim(task, "the commoner class", ours, common, 0.3),
        Claim(
            "entries of ego networks grow as nodes to the power of; negated",
            "whole graphs, negated",
            (-slopes[0],) * seeds,
            (-slopes[1],) * seeds,
            0.8,
        ),
    ]


def scores(seed: int, steps: int) -> dict[str, float]:
    """Accuracy of each network, and of always saying the same."""
    graphs = drawn_graphs(seed)
    training, held_out = graphs[:-HELD_OUT], graphs[-HELD_OUT:]
    share = sum(graph.label for graph in held_out) / HELD_OUT
    result = {"common": max(share, 1 - share)}
    for name in ("ego", "whole", "GIN"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if name == "GIN":
                model: nn.Module = GIN()
                logits = model.logits
            else:
                network = SPEN(SPENConfig(1, 0, 2, HIDDEN, LAYERS, hops=1 if name == "ego" else 0))
                model, logits = network, lambda chosen, one=network: logits_of(one, chosen)
            fit(model, logits, training, steps, seed)
        result[name] = accuracy(logits, held_out)
    return result


def exponents() -> tuple[float, float]:
    """How the entries of tensors grow with the nodes of random graphs of mean degree 4: ego networks, whole graphs."""
    rng, ego = np.random.default_rng(0), []
    for n in SIZES:
        pairs = {(min(a, b), max(a, b)) for a, b in rng.integers(n, size=(2 * n, 2)).tolist() if a != b}
        once = torch.tensor(sorted(pairs)).T
        parts = ego_subgraphs(torch.cat([once, once.flip(0)], dim=1), n, 1)
        ego.append(int(parts.mask.sum(dim=1).square().sum()))
    logarithms = np.log(SIZES)
    slope, _ = np.polyfit(logarithms, np.log(ego), 1)
    whole, _ = np.polyfit(logarithms, np.log([n * n for n in SIZES]), 1)
    return float(slope), float(whole)
