"""Do distances of scenes count the contacts that changed? D-SLA on piles of blocks, and contrastive learning.

Trained as by `representation.structure.compare_scenes`, on four fifths of the piles. Of each of the others there are
four copies, which lose 1 to 4 contacts and gain as many.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.d_sla import DIM, LAYERS, agreement, changed_copies, contrasted
from representation.data.scene_graphs import read_scene_graphs
from representation.structure.compare_scenes import EDGE_TYPES
from representation.structure.d_sla import DSLA, SCENE_KINDS, GINConfig, GINEncoder, TypedGraph, of_scene, pretrain
from representation.structure.label_scenes import split

STEPS, EDITS = 1000, (1, 2, 3, 4)
SIZES = GINConfig(len(SCENE_KINDS), EDGE_TYPES, DIM, LAYERS)


def run(options: BenchOptions) -> list[Claim]:
    """Agreement of distances and changes on scenes that were held out, by seed.

    Raises:
        FileNotFoundError: there are no scene graphs; says how to make them.
    """
    graphs = [of_scene(scene) for scene in read_scene_graphs(options.data.with_name("piles"))]
    found = [scores(seed, graphs, options.steps(STEPS)) for seed in range(options.seeds)]

    def claim(text: str, figure: str, least: float, sign: int = 1, share: float = 1.0) -> Claim:
        ours, baseline = (tuple(sign * one[name][figure] for one in found) for name in ("D-SLA", "contrastive"))
        name = "contrastive" if share == 1 else f"{share:g} of the contrastive one's, negated"
        return Claim(text, name, ours, tuple(share * value for value in baseline), least)

    changed = "rank correlation of distances and contacts changed: 1 to 4 lost, and as many gained"
    return [
        claim(changed, "rank", 0.08),
        claim("the same among the copies of one pile, mean over piles", "rank_each", 0.08),
        claim("spread of distance by change, negated", "spread", 0.0, -1, 0.85),
    ]


def scores(seed: int, graphs: Sequence[TypedGraph], steps: int) -> dict[str, dict[str, float]]:
    """`agreement` of each encoder."""
    training, held_out = split(graphs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        dsla = DSLA(GINEncoder(SIZES))
    pretrain(dsla, training, steps, seed)
    encoders = {"D-SLA": dsla.encoder, "contrastive": contrasted(SIZES, training, steps, seed, edits=1)}
    result = {}
    for name, encoder in encoders.items():
        copies = changed_copies(encoder, held_out, EDITS, torch.Generator().manual_seed(seed))
        result[name] = agreement(*(part.numpy() for part in copies))
    return result
