"""Train what tells the part that each thing of a scene plays: `python -m representation.structure.label_scenes`.

`--data DIR` holds scene graphs (`python -m sim.scene_graphs --output DIR`). A network of sheaf diffusion learns from
what touches what, and from kinds and sizes, but from no heights and no supports, what each thing is: the table, alone
on it, the base of others, between others, or on top. A fifth of the scenes is held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm

from representation.data.frames import expect_empty
from representation.data.scene_graphs import SceneGraph, read_scene_graphs
from representation.structure.sheaf_diffusion import SheafConfig, SheafDiffusion

GraphT = TypeVar("GraphT")
ROLES = ("table", "alone", "base", "between", "top")
FEATURES, SCALE = 4, 0.03  # numbers of a node; m
BATCH, LR = 16, 0.01


@dataclass(frozen=True)
class LabelOptions:
    """What is trained.

    Attributes:
        data: directory of scene graphs.
        output: directory to write; must not hold files.
        steps: of the optimizer.
        seed: of weights and batches.
        d: numbers of a stalk.
        hidden: channels.
        layers: of diffusion.
    """

    data: Path
    output: Path
    steps: int = 400
    seed: int = 0
    d: int = 3
    hidden: int = 8
    layers: int = 3


def features(graph: SceneGraph) -> Tensor:
    """What is known of each thing (n, 4): whether it is a table, and its half sides; those of a table are left out."""
    rows = [[1, 0, 0, 0] if node.kind == "table" else [0, *(h / SCALE for h in node.half_size)] for node in graph.nodes]
    return torch.tensor(rows, dtype=torch.float32)


def roles(graph: SceneGraph) -> Tensor:
    """Places (n,) in `ROLES`, by what bears what."""
    table = np.array([node.kind == "table" for node in graph.nodes])
    on_things = np.zeros(len(table), dtype=bool)
    for below, above in graph.supports:
        on_things[above] |= not table[below]
    bears = graph.bears > 0
    found = np.where(on_things, np.where(bears, 3, 4), np.where(bears, 2, 1))
    return torch.from_numpy(np.where(table, 0, found))


def together(graphs: Sequence[SceneGraph]) -> tuple[Tensor, Tensor, Tensor]:
    """Features (N, 4), contacts (2, E) and roles (N,) of graphs side by side."""
    starts = np.cumsum([0, *(len(graph.nodes) for graph in graphs)])
    edges = [graph.edge_index + int(start) for graph, start in zip(graphs, starts, strict=False)]
    return torch.cat([features(g) for g in graphs]), torch.cat(edges, dim=1), torch.cat([roles(g) for g in graphs])


def fit(model: nn.Module, graphs: Sequence[SceneGraph], steps: int, seed: int, progress: bool = False) -> None:
    """Train a network of features and edges to log-probabilities of roles; it is then in evaluation mode."""
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.Adam(model.parameters(), LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    for _ in tqdm(range(steps), desc="steps", unit="step", disable=not progress):
        x, edge_index, wanted = together([graphs[place] for place in rng.choice(len(graphs), BATCH)])
        optimizer.zero_grad()
        F.nll_loss(model(x, edge_index), wanted).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, graphs: Sequence[SceneGraph]) -> float:
    """Share of the things but tables whose role is told."""
    x, edge_index, wanted = together(graphs)
    right = model(x, edge_index).argmax(dim=1) == wanted
    return float(right[wanted != 0].float().mean())


def split(graphs: Sequence[GraphT]) -> tuple[Sequence[GraphT], Sequence[GraphT]]:
    """Four fifths to train on, and the others.

    Raises:
        ValueError: fewer than five.
    """
    if len(graphs) < 5:
        raise ValueError(f"scene graphs: expected at least 5, found {len(graphs)}")
    return graphs[: -(len(graphs) // 5)], graphs[-(len(graphs) // 5) :]


def main(args: Sequence[str] | None = None) -> None:
    """Train from the command line, and tell how many roles of held-out scenes are told."""
    options = tyro.cli(LabelOptions, args=args, description=__doc__)
    expect_empty(options.output)
    training, held_out = split(read_scene_graphs(options.data))
    torch.manual_seed(options.seed)
    model = SheafDiffusion(SheafConfig(FEATURES, len(ROLES), options.d, options.hidden, options.layers))
    fit(model, training, options.steps, options.seed, progress=True)
    model.save(options.output)
    wanted = together(held_out)[2]
    common = torch.bincount(wanted[wanted != 0]).max() / (wanted != 0).sum()
    print(
        f"{len(held_out)} scenes: {accuracy(model, held_out):.3f} of the roles told, {float(common):.3f} the same one"
    )


if __name__ == "__main__":
    main()
