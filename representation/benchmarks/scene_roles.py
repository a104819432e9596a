"""Which part each thing of a pile plays, by what it touches: sheaf diffusion, a GCN, and a perceptron on sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.sheaf_diffusion import GCN
from representation.data.scene_graphs import SceneGraph, read_scene_graphs
from representation.structure.label_scenes import FEATURES, ROLES, accuracy, fit, split
from representation.structure.sheaf_diffusion import SheafConfig, SheafDiffusion

STEPS, D, HIDDEN, LAYERS = 400, 3, 8, 3
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "sheaf": lambda: SheafDiffusion(SheafConfig(FEATURES, len(ROLES), D, HIDDEN, LAYERS)),
    "GCN": lambda: GCN(FEATURES, D * HIDDEN, len(ROLES), LAYERS),
    "perceptron": lambda: GCN(FEATURES, D * HIDDEN, len(ROLES), LAYERS, alone=True),
}


def run(options: BenchOptions) -> list[Claim]:
    """Accuracy on scenes that were held out, by seed.

    Raises:
        FileNotFoundError: there are no scene graphs; says how to make them.
    """
    graphs = read_scene_graphs(options.data.with_name("piles"))
    found = [scores(seed, graphs, options.steps(STEPS)) for seed in range(options.seeds)]
    ours, gcn, alone = (tuple(one[name] for one in found) for name in NETWORKS)
    task = "roles of things in piles told by contacts, without heights"
    return [Claim(task, "GCN", ours, gcn, 0.05), Claim(task, "perceptron", ours, alone, 0.1)]


def scores(seed: int, graphs: Sequence[SceneGraph], steps: int) -> dict[str, float]:
    """Accuracy of each network."""
    training, held_out = split(graphs)
    result = {}
    for name, network in NETWORKS.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = network()
            fit(model, training, steps, seed)
        result[name] = accuracy(model, held_out)
    return result
