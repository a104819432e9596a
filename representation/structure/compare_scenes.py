"""Learn how much scenes differ, and find those like one: `python -m representation.structure.compare_scenes`.

`--data DIR` holds scene graphs (`python -m sim.scene_graphs --output DIR`). Without `--encoder`, an encoder of D-SLA is
trained on four fifths of them, written to `--output`, and told how well its distances count changes on the rest. With
`--encoder`, the scenes are listed that differ least from scene `--goal`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from scipy.stats import spearmanr

from representation.data.frames import expect_empty
from representation.data.scene_graphs import read_scene_graphs
from representation.structure.d_sla import (
    DSLA,
    SCENE_KINDS,
    GINConfig,
    GINEncoder,
    TypedGraph,
    discrepancy,
    load,
    of_scene,
    perturb_graph,
    pretrain,
)
from representation.structure.label_scenes import split

EDITS, LISTED, EDGE_TYPES = (1, 2, 3), 5, 2


@dataclass(frozen=True)
class CompareOptions:
    """What is compared.

    Attributes:
        data: directory of scene graphs.
        output: directory of a new encoder; must not hold files.
        encoder: directory of one that was trained.
        goal: number of the scene that others are compared with.
        edits: contacts that each of four copies of a scene loses and gains in training, the strong one last; one to
            four fifths of its contacts if left out.
        steps: of the optimizer.
        dim: numbers of a vector.
        layers: of the encoder.
        seed: of weights and changes.
    """

    data: Path
    output: Path | None = None
    encoder: Path | None = None
    goal: int = 0
    edits: tuple[int, int, int, int] | None = None
    steps: int = 1000
    dim: int = 48
    layers: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.output is None) == (self.encoder is None):
            raise ValueError("output, encoder: expected one of them, found both or none")


def counted(encoder: GINEncoder, graphs: Sequence[TypedGraph], edits: Sequence[int], seed: int) -> float:
    """Rank correlation of distances and changes, of a copy of each graph for each number of edits."""
    generator = torch.Generator().manual_seed(seed)
    pairs = [(graph, *perturb_graph(graph, count, generator=generator)) for graph in graphs for count in edits]
    distances = [discrepancy(encoder, graph, copy) for graph, copy, _ in pairs]
    return float(spearmanr(distances, [changes for _, _, changes in pairs]).statistic)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    try:
        options = tyro.cli(CompareOptions, args=args, description=__doc__)
        graphs = [of_scene(scene) for scene in read_scene_graphs(options.data)]
        if options.output is not None:
            expect_empty(options.output)
            training, held_out = split(graphs)
            torch.manual_seed(options.seed)
            dsla = DSLA(GINEncoder(GINConfig(len(SCENE_KINDS), EDGE_TYPES, options.dim, options.layers)))
            pretrain(dsla, training, options.steps, options.seed, edits=options.edits, progress=True)
            dsla.encoder.save(options.output)
            found = counted(dsla.encoder, held_out, EDITS, options.seed)
            print(f"{len(held_out)} scenes: rank correlation of distances and changes {found:.3f}")
            return 0
        if not 0 <= options.goal < len(graphs):
            raise ValueError(f"goal: expected a scene from 0 to {len(graphs) - 1}, found {options.goal}")
        encoder = load(options.encoder)
        with torch.no_grad():
            vectors = encoder(graphs)
        distances = (vectors - vectors[options.goal]).norm(dim=1)
        for place in distances.argsort(stable=True)[: LISTED + 1].tolist():
            print(f"scene {place}: {float(distances[place]):.3f}")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
