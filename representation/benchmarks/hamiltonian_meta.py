"""Does meta-training make a Hamiltonian fit a law that was never seen in fewer steps? Springs and wells in the plane.

Three networks of the same size learn a double well from fifty moments of a trajectory: one meta-trained on four other
laws, one trained on them jointly, and one from random weights. After 50 steps of Adam their motions are also followed
for five units of time, and each hidden layer is compared with what it was before (linear CKA).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from representation.analysis.feature_bias.similarity import linear_cka
from representation.benchmarks.claims import BenchOptions, Claim
from representation.dynamics.hamiltonian_meta.adaptation import (
    MetaConfig,
    adapt,
    descend,
    joint_loss,
    meta_loss,
    train,
)
from representation.dynamics.hamiltonian_meta.network import HamiltonianConfig, HamiltonianNet, Parameters
from representation.dynamics.hamiltonian_meta.rollout import energy_error, rk4, state_error
from representation.dynamics.hamiltonian_meta.systems import DURATION, POINTS, SYSTEMS, Trajectories

LEARNED, UNSEEN = ("mass-spring", "pendulum", "henon-heiles", "quartic well"), "double well"
TRAJECTORIES, TESTS, SAMPLES = 15, 8, 50
CONFIG = MetaConfig(iterations=400, outer_lr=1e-3, tasks=8, inner_lr=0.15, inner_steps=5)
STEPS, ADAM, ADAM_STEPS = (0, 1, 5, 20), "Adam", 50
FOLLOWED = 101  # points, of the 200 of a trajectory
ROLLOUTS = {
    "state": "error of the state when followed for 5 units of time, negated",
    "energy": "share of the energy that is lost or won there, negated",
    "first": "first hidden layer, CKA with what it was before",
    "second": "second hidden layer, CKA with what it was before",
}
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
    names: dict[int | str, str] = {steps: f"{steps} steps" for steps in STEPS} | {ADAM: f"{ADAM_STEPS} steps of Adam"}
    for key, name in names.items():
        told = (lambda x, k=key: -x[META, k], lambda x, k=key: -x[JOINT, k])
        claims.append(claim(f"double well after {name}: relative L1 error of the field, negated", JOINT, *told, None))
    for key, text in ROLLOUTS.items():
        told = (lambda x, k=key: x[META, k], lambda x, k=key: x[JOINT, k])
        claims.append(claim(f"double well after {names[ADAM]}: {text}", JOINT, *told, None))
    return claims


def _one(seed: int, options: BenchOptions) -> dict[tuple[str, int | str], float]:
    generator = torch.Generator().manual_seed(seed)
    learned = [SYSTEMS[name].drawn(TRAJECTORIES, generator) for name in LEARNED]
    starts, constants = SYSTEMS[UNSEEN].starts(TESTS, generator)
    tests = SYSTEMS[UNSEEN].trajectories(starts, constants)
    tests = Trajectories(tests.states.float(), tests.rates.float())
    nets = trained(HamiltonianConfig(), learned, CONFIG, seed, options)
    found = errors(nets, tests, CONFIG.inner_lr, generator)
    for name in (META, JOINT):
        found |= {(name, key): value for key, value in followed(nets[name], tests, constants, generator).items()}
    return found


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


def followed(
    net: HamiltonianNet, tests: Trajectories, constants: Tensor, generator: torch.Generator
) -> dict[str, float]:
    """`ROLLOUTS` of a network that is adapted by Adam to some moments of each trajectory; geometric means of errors."""
    seen, system = tests.drawn(SAMPLES, generator), SYSTEMS[UNSEEN]
    found: dict[str, list[float]] = {name: [] for name in ROLLOUTS}
    for number, true in enumerate(tests.states[:, :FOLLOWED].unbind()):
        own = adapt(net, net.parameters_by_name, seen.states[number], seen.rates[number], ADAM_STEPS)
        told = rk4(lambda x, w=own: net.field(w, x), true[:1], DURATION / (POINTS - 1), FOLLOWED - 1)
        constant = constants[number : number + 1].float()
        energy = energy_error(lambda x, c=constant: system.hamiltonian(x, c), told)
        found["state"].append(float(state_error(told, true[:, None]).log()))
        found["energy"].append(float(energy.log()))
        layers = [hidden(net, weights, tests.states[number]) for weights in (net.parameters_by_name, own)]
        for name, *pair in zip(("first", "second"), *layers, strict=True):
            found[name].append(linear_cka(*pair))
    means = {name: float(np.mean(values)) for name, values in found.items()}
    return means | {name: -float(np.exp(means[name])) for name in ("state", "energy")}


def hidden(net: HamiltonianNet, weights: Parameters, states: Tensor) -> list[NDArray[np.float64]]:
    """What each hidden layer of an mlp says of states (T, bodies, 2 d): (T, width) each."""
    own, x, found = copy.deepcopy(net), states.flatten(1), []
    own.load_state_dict(dict(weights))
    with torch.no_grad():
        for layer in own.read[:-1]:
            x = layer(x)
            if not isinstance(layer, nn.Linear):
                found.append(x.double().numpy())
    return found


def _error(net: HamiltonianNet, weights: list[dict[str, Tensor]], tests: Trajectories) -> float:
    shares = []
    for own, states, rates in zip(weights, tests.states, tests.rates, strict=True):
        wrong = (net.field(own, states) - rates).abs().sum() / rates.abs().sum()
        shares.append(wrong.item())
    return float(np.mean(shares))
