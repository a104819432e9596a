"""Can triangles be told, and closed loops of supports? SPEN, the same layers on whole graphs, and a GIN.

The first graphs have 20 nodes with four neighbours each. They look alike to message passing, and to maps of order 2 on
the whole graph; their class is whether they have more triangles than the median, and half of them do, so that who
always says the same is right as often as by chance. The second are contacts of piles of blocks, with a mark on the
table. Each fifth of the graphs of each class is held out in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from representation.benchmarks.claims import BenchOptions, Claim
from representation.data.scene_graphs import read_scene_graphs
from representation.structure.classify_scenes import PlainGraph, accuracy, fit, logits_of, plain_graph
from representation.structure.d_sla import GINConfig, GINEncoder, TypedGraph
from representation.structure.spen import SPEN, GlobalPermutationNet, SPENConfig, ego_subgraphs

NODES, DEGREE, GRAPHS, STEPS, HIDDEN, LAYERS = 20, 4, 300, 150, 16, 2
SIZES, DRAWS, FOLDS = (100, 200, 400, 800, 1600), 5, 5
Logits = Callable[[Sequence[PlainGraph]], Tensor]


def regular_graph(rng: np.random.Generator) -> Tensor:
    """Edges (2, E) of a random graph of 20 nodes with four neighbours each."""
    while True:
        ends = rng.permutation(np.repeat(np.arange(NODES), DEGREE)).reshape(-1, 2)
        pairs = {(int(min(pair)), int(max(pair))) for pair in ends if pair[0] != pair[1]}
        if len(pairs) == NODES * DEGREE // 2:
            once = torch.tensor(sorted(pairs)).T
            return torch.cat([once, once.flip(0)], dim=1)


def triangles(edge_index: Tensor) -> int:
    """How many there are."""
    n = int(edge_index.max()) + 1
    adjacency = torch.zeros(n, n).index_put(tuple(edge_index), torch.tensor(1.0))
    return round(float((adjacency @ adjacency @ adjacency).trace()) / 6)


def drawn_graphs(seed: int) -> list[PlainGraph]:
    """Graphs with their classes, as many of each: the median is that of the first, and more are drawn."""
    rng = np.random.default_rng(seed)
    edges = [regular_graph(rng) for _ in range(GRAPHS)]
    median, graphs = np.median([triangles(one) for one in edges]), []
    wanted = {0: GRAPHS // 2, 1: GRAPHS // 2}
    while any(wanted.values()):
        one = edges.pop(0) if edges else regular_graph(rng)
        label = int(triangles(one) > median)
        if wanted[label]:
            wanted[label] -= 1
            graphs.append(PlainGraph(torch.ones(NODES, 1), one, label))
    return graphs


class GIN(nn.Module):
    """The encoder of `d_sla`, with means and sums over nodes, and a head; nodes are of two types, by their feature."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = GINEncoder(GINConfig(2, 1, 48, 3))
        self.head = nn.Sequential(nn.BatchNorm1d(96), nn.Linear(96, 48), nn.ReLU(), nn.Linear(48, 2))

    def logits(self, graphs: Sequence[PlainGraph]) -> Tensor:
        """Logits (B, 2) of graphs."""
        typed = [
            TypedGraph(graph.x[:, 0].long(), graph.edge_index, torch.zeros(graph.edge_index.shape[1], dtype=torch.long))
            for graph in graphs
        ]
        means = self.encoder(typed)
        sizes = torch.tensor([[float(len(graph.x))] for graph in graphs])
        return self.head(torch.cat([means, means * sizes], dim=1))


def networks() -> dict[str, Callable[[], tuple[nn.Module, Logits]]]:
    """What makes each network and its logits."""
    config = SPENConfig(1, 0, HIDDEN, LAYERS)

    def of(network: SPEN) -> tuple[nn.Module, Logits]:
        return network, lambda graphs: logits_of(network, graphs)

    def gin() -> tuple[nn.Module, Logits]:
        model = GIN()
        return model, model.logits

    return {"ego": lambda: of(SPEN(config)), "whole": lambda: of(GlobalPermutationNet(config)), "GIN": gin}


def scores(seed: int, graphs: Sequence[PlainGraph], names: Sequence[str], steps: int) -> dict[str, float]:
    """Accuracy of each network, and of always saying the commoner class: means over the fifths that are held out."""
    found = []
    for training, held_out in folds(graphs, seed):
        share = sum(graph.label for graph in held_out) / len(held_out)
        one = {"common": max(share, 1 - share)}
        for name in names:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model, logits = networks()[name]()
                fit(model, logits, training, steps, seed)
            one[name] = accuracy(logits, held_out)
        found.append(one)
    return {name: float(np.mean([one[name] for one in found])) for name in ("common", *names)}


def folds(graphs: Sequence[PlainGraph], seed: int) -> list[tuple[list[PlainGraph], list[PlainGraph]]]:
    """Five times four fifths of the graphs of each class, and the fifth that is left, another one each time."""
    shuffled = [graphs[place] for place in np.random.default_rng(seed).permutation(len(graphs))]
    classes = [[one for one in shuffled if one.label == label] for label in (0, 1)]
    found = []
    for fold in range(FOLDS):
        held_out = [one for alike in classes for one in alike[fold::FOLDS]]
        training = [one for alike in classes for place, one in enumerate(alike) if place % FOLDS != fold]
        found.append((training, held_out))
    return found


def exponents(seed: int) -> tuple[float, float]:
    """How entries of tensors of pairs, padding included, grow with the nodes of random graphs of mean degree 4.

    Returns:
        Of ego networks, and of whole graphs.
    """
    rng, ego, whole = np.random.default_rng(seed), [], []
    for n in SIZES:
        entries = []
        for _ in range(DRAWS):
            pairs = {(min(a, b), max(a, b)) for a, b in rng.integers(n, size=(2 * n, 2)).tolist() if a != b}
            once = torch.tensor(sorted(pairs)).T
            parts = ego_subgraphs(torch.cat([once, once.flip(0)], dim=1), n, 1)
            entries.append(sum(part.adjacency.numel() for part in parts))
        ego.append(np.mean(entries))
        whole.append(n * n)
    slopes = [np.polyfit(np.log(SIZES), np.log(values), 1)[0] for values in (ego, whole)]
    return float(slopes[0]), float(slopes[1])


def run(options: BenchOptions) -> list[Claim]:
    """Accuracy on graphs that were held out, and growth, by seed.

    Raises:
        FileNotFoundError: there are no scene graphs; says how to make them.
    """
    seeds, steps = range(options.seeds), options.steps(STEPS)
    piles = [plain_graph(graph) for graph in read_scene_graphs(options.data.with_name("piles"))]
    regular = [scores(seed, drawn_graphs(seed), ("ego", "whole", "GIN"), steps) for seed in seeds]
    stacked = [scores(seed, piles, ("ego", "GIN"), steps) for seed in seeds]
    slopes = [exponents(seed) for seed in seeds]
    ours, whole, gin = (tuple(one[name] for one in regular) for name in ("ego", "whole", "GIN"))
    task, loops = "many or few triangles in graphs of four neighbours each", "closed loops of supports in piles told"
    piled = {name: tuple(one[name] for one in stacked) for name in ("ego", "GIN", "common")}

    def at_most(values: Sequence[float], most: float, claim: str) -> Claim:
        return Claim(f"{claim}, negated", "asked", tuple(-abs(v) for v in values), (-most,) * options.seeds)

    return [
        Claim(task, "asked", ours, (0.95,) * options.seeds),
        Claim(task, "GIN", ours, gin, 0.3),
        Claim(task, "maps on whole graphs", ours, whole, 0.3),
        at_most([value - 0.5 for value in gin], 0.05, "the same: how far a GIN is from chance"),
        at_most([value - 0.5 for value in whole], 0.05, "the same: how far maps on whole graphs are from chance"),
        Claim(loops, "GIN", piled["ego"], piled["GIN"], 0.1),
        Claim(loops, "the commoner class", piled["ego"], piled["common"], 0.1),
        at_most([ego - 1 for ego, _ in slopes], 0.15, "entries of ego networks: how far from growing as nodes"),
        at_most([one - 2 for _, one in slopes], 0.1, "entries of whole graphs: how far from growing as nodes squared"),
    ]
