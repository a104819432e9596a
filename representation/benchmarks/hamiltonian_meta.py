"""Does meta-training make a Hamiltonian fit a law that was never seen in fewer steps? Springs and wells in the plane.

Three networks of the same size learn a double well from fifty moments of a trajectory: one meta-trained on four other
laws, one trained on them jointly, and one from random weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from representation.benchmarks.claims import BenchOptions, Claim
from representation.dynamics.hamiltonian_meta.adaptation import (
    MetaConfig,
    adapt,
    descend,
    joint_loss,
    meta_loss,
    train,
)
from representation.dynamics.hamiltonian_meta.network import HamiltonianConfig, HamiltonianNet
from representation.dynamics.hamiltonian_meta.systems import SYSTEMS, Trajectories

LEARNED, UNSEEN = ("mass-spring", "pendulum", "henon-heiles", "quartic well"), "double well"
TRAJECTORIES, TESTS, SAMPLES = 15, 8, 50
CONFIG = MetaConfig(iterations=400, outer_lr=1e-3, tasks=8, inner_lr=0.15, inner_steps=5)
STEPS, ADAM, ADAM_STEPS = (0, 1, 5, 20), "Adam", 50
META, JOINT, RANDOM = "meta-trained", "jointly trained", "random weights"


def run(options: BenchOptions) -> list[Claim]:
    """Errors of the field after some steps, by seed."""
    found = [_one(seed, options) for seed in range(options.seeds)]

    def claim(text: str, name: str, ours: Callable, baseline: Callable, least: float | None = 0.0) -> Claim:
        return Claim(text, name, tuple(map(ours, found)), tuple(map(baseline, found)), least)

    claims = []
    for steps, least in ((0, None), (1, None), (5, 0.03), (20, 0.08)):
        text = f"double well after {steps} steps on {SAMPLES} moments: error saved, share of {JOINT}'s"
        claims.append(claim(text, "none", lambda x, s=steps: 1 - x[META, s] / x[JOINT, s], lambda x: 0.0, least))
    text = f"double well after 5 steps on {SAMPLES} moments: error saved, share of {RANDOM}'"
    claims.append(claim(text, "asked", lambda x: 1 - x[META, 5] / x[RANDOM, 5], lambda x: 0.55))
    names: dict[int | str, str] = {steps: f"{steps} steps" for steps in STEPS}
    for key, name in (names | {ADAM: f"{ADAM_STEPS} steps of Adam"}).items():
        told = (lambda x, k=key: -x[META, k], lambda x, k=key: -x[JOINT, k])
        claims.append(claim(f"double well after {name}: relative L1 error of the field, negated", JOINT, *told, None))
    return claims


def _one(seed: int, options: BenchOptions) -> dict[tuple[str, int | str], float]:
    generator = torch.Generator().manual_seed(seed)
    learned = [SYSTEMS[name].drawn(TRAJECTORIES, generator) for name in LEARNED]
    tests = SYSTEMS[UNSEEN].drawn(TESTS, generator)
    nets = trained(HamiltonianConfig(), learned, CONFIG, seed, options)
    return errors(nets, tests, CONFIG.inner_lr, generator)


def trained(
    sizes: HamiltonianConfig, learned: list[Trajectories], config: MetaConfig, seed: int, options: BenchOptions
) -> dict[str, HamiltonianNet]:
    """Networks from the same random weights, meta-trained, jointly trained and untouched."""
    torch.manual_seed(seed)
    nets = {RANDOM: HamiltonianNet(sizes)}
    config = replace(config, iterations=options.steps(config.iterations))
    for name, loss in ((META, meta_loss), (JOINT, joint_loss)):
        nets[name] = copy.deepcopy(nets[RANDOM])
        train(nets[name], learned, config, torch.Generator().manual_seed(seed), loss)
    return nets


def errors(
    nets: Mapping[str, HamiltonianNet], tests: Trajectories, lr: float, generator: torch.Generator
) -> dict[tuple[str, int | str], float]:
    """Mean relative L1 error of the field along test trajectories, by network and steps on some moments of each."""
    seen = tests.drawn(SAMPLES, generator)
    found: dict[tuple[str, int | str], float] = {}
    for name, net in nets.items():
        weights = net.parameters_by_name
        for steps in STEPS:
            by_test = [descend(net, weights, x, dx, steps, lr) for x, dx in zip(seen.states, seen.rates, strict=True)]
            found[name, steps] = _error(net, by_test, tests)
        by_test = [adapt(net, weights, x, dx, ADAM_STEPS) for x, dx in zip(seen.states, seen.rates, strict=True)]
        found[name, ADAM] = _error(net, by_test, tests)
    return found


def _error(net: HamiltonianNet, weights: list[dict[str, Tensor]], tests: Trajectories) -> float:
    shares = []
    for own, states, rates in zip(weights, tests.states, tests.rates, strict=True):
        wrong = (net.field(own, states) - rates).abs().sum() / rates.abs().sum()
        shares.append(wrong.item())
    return float(np.mean(shares))
