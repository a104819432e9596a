"""Train what tells scenes with a closed loop of supports: `python -m representation.structure.classify_scenes`.

`--data DIR` holds scene graphs (`python -m sim.scene_graphs --output DIR`). A block that lies across two others closes
a loop, if these stand on the same thing. SPEN learns to tell such scenes by their contacts; a fifth is held out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm

from representation.data.frames import expect_empty
from representation.data.scene_graphs import SceneGraph, read_scene_graphs
from representation.structure.label_scenes import split
from representation.structure.spen import SPEN, SPENConfig

BATCH, LR = 16, 1e-2


@dataclass(frozen=True)
class PlainGraph:
    """A graph to be classified.

    Attributes:
        x: (n, F) features of nodes.
        edge_index: (2, E), both directions.
        label: its class.
    """

    x: Tensor
    edge_index: Tensor
    label: int


@dataclass(frozen=True)
class ClassifyOptions:
    """What is trained.

    Attributes:
        data: directory of scene graphs.
        output: directory to write; must not hold files.
        steps: of the optimizer.
        hidden: channels.
        layers: how often ego networks are put together.
        seed: of weights and batches.
    """

    data: Path
    output: Path
    steps: int = 200
    hidden: int = 16
    layers: int = 2
    seed: int = 0


def has_loop(graph: SceneGraph) -> bool:
    """Whether supports, taken without direction, close a loop."""
    root = list(range(len(graph.nodes)))
    for a, b in graph.supports:
        while root[a] != a:
            a = root[a]
        while root[b] != b:
            b = root[b]
        if a == b:
            return True
        root[a] = b
    return False


def plain_graph(graph: SceneGraph) -> PlainGraph:
    """Contacts of a scene, whether a node is the table, and whether there is a loop."""
    x = torch.tensor([[float(node.kind == "table")] for node in graph.nodes])
    return PlainGraph(x, graph.edge_index, int(has_loop(graph)))


def logits_of(model: SPEN, graphs: Sequence[PlainGraph]) -> Tensor:
    """Logits (B, C) of graphs side by side."""
    sizes = torch.tensor([len(graph.x) for graph in graphs])
    starts = sizes.cumsum(0) - sizes
    edges = torch.cat([graph.edge_index + start for graph, start in zip(graphs, starts, strict=True)], dim=1)
    batch = torch.repeat_interleave(torch.arange(len(graphs)), sizes)
    return model(torch.cat([graph.x for graph in graphs]), edges, torch.zeros(edges.shape[1], 0), batch)


def fit(
    model: nn.Module,
    logits: Callable[[Sequence[PlainGraph]], Tensor],
    graphs: Sequence[PlainGraph],
    steps: int,
    seed: int,
    progress: bool = False,
) -> None:
    """Train the parameters of a model by the cross-entropy of its logits; it is then in evaluation mode."""
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.Adam(model.parameters(), LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    for _ in tqdm(range(steps), desc="steps", unit="step", disable=not progress):
        chosen = [graphs[place] for place in rng.choice(len(graphs), BATCH)]
        optimizer.zero_grad()
        F.cross_entropy(logits(chosen), torch.tensor([graph.label for graph in chosen])).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()


@torch.no_grad()
def accuracy(logits: Callable[[Sequence[PlainGraph]], Tensor], graphs: Sequence[PlainGraph]) -> float:
    """Share of the graphs whose class is told."""
    labels = torch.tensor([graph.label for graph in graphs])
    return float((logits(graphs).argmax(dim=1) == labels).float().mean())


def main(args: Sequence[str] | None = None) -> None:
    """Train from the command line, and tell how many of the held-out scenes are told."""
    options = tyro.cli(ClassifyOptions, args=args, description=__doc__)
    expect_empty(options.output)
    graphs = [plain_graph(graph) for graph in read_scene_graphs(options.data)]
    training, held_out = split(graphs)
    torch.manual_seed(options.seed)
    model = SPEN(SPENConfig(1, 0, options.hidden, options.layers))
    fit(model, lambda chosen: logits_of(model, chosen), training, options.steps, options.seed, progress=True)
    model.save(options.output)
    told = accuracy(lambda chosen: logits_of(model, chosen), held_out)
    loops = sum(graph.label for graph in held_out) / len(held_out)
    print(f"{len(held_out)} scenes: {told:.3f} told, {max(loops, 1 - loops):.3f} the same class")


if __name__ == "__main__":
    main()
