"""Do the kernels learn? Alignment with the targets over nu, what that costs, and two toys with held-out points.

The classes of the second toy are points (t, sin 2t ± 0.5) with noise of 0.5: no line parts them, and the best of all
rules is right on 0.84 of the points.
"""

from __future__ import annotations

from math import inf

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from representation.analysis.deep_kernel_machines import (
    ArccosKernel,
    DeepKernelMachine,
    SparseDKM,
    SqExpKernel,
    kernel_alignment,
    nngp,
)
from representation.benchmarks.claims import BenchOptions, Claim

POINTS, WIDTH, LAYERS, NOISE, STEPS, LR = 80, 5, 2, 0.1, 200, 0.02
FEW = 40  # points of the trade-off
NUS = (1.0, 10.0, 100.0)
TRADED = (0.1, 1.0, 10.0)
SINES, INDUCING, EPOCHS, BATCH, SINES_LR = 1000, 32, 40, 500, 1e-2


def drawn(count: int, width: int, seed: int) -> tuple[Tensor, Tensor]:
    """Points (n, d), and y = sin(2 x_1) x_2."""
    x = torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x, (2 * x[:, 0]).sin() * x[:, 1]


def machine(x: Tensor, y: Tensor, nu: float, steps: int) -> DeepKernelMachine:
    """Two layers of squared exponential kernels, fitted."""
    return DeepKernelMachine([SqExpKernel() for _ in range(LAYERS + 1)], nu, NOISE).fit(x, y, steps, LR)


def alignments(seed: int, steps: int) -> dict[float, float]:
    """Of the kernel of the outputs with the targets, by nu."""
    x, y = drawn(POINTS, WIDTH, seed)
    wanted = torch.outer(y, y)
    found = {inf: kernel_alignment(nngp(x, SqExpKernel(), LAYERS)[-1], wanted)}
    return found | {nu: kernel_alignment(machine(x, y, nu, steps).top_kernel(), wanted) for nu in NUS}


def trade(seed: int, steps: int) -> tuple[list[float], list[float]]:
    """Log-likelihoods and divergences, over rising nu."""
    x, y = drawn(FEW, WIDTH, seed)
    fitted = [machine(x, y, nu, steps) for nu in TRADED]
    return [float(one.log_likelihood()) for one in fitted], [float(one.divergences().sum()) for one in fitted]


def sines(seed: int) -> tuple[Tensor, Tensor]:
    """Points (n, 2) of two noisy sines, and which each is of."""
    rng = np.random.default_rng(seed)
    t, classes = rng.uniform(-3, 3, SINES), rng.integers(0, 2, SINES)
    height = np.sin(2 * t) + classes - 0.5 + 0.5 * rng.standard_normal(SINES)
    return torch.from_numpy(np.stack([t, height], axis=1)), torch.from_numpy(classes)


def told(seed: int, nu: float, epochs: int) -> float:
    """Share of the held-out points of two sines that are told."""
    (x, y), (tested, wanted) = sines(2 * seed), sines(2 * seed + 1)
    start = torch.nn.functional.one_hot(y[:INDUCING], 2).double()
    model = SparseDKM(x[:INDUCING], LAYERS, ArccosKernel(), nu, 2, "categorical", start=start)
    model.fit(x, y, epochs * SINES // BATCH, SINES_LR, BATCH, seed)
    return float((model.predict(tested)[0].argmax(dim=1) == wanted).double().mean())


def linear(seed: int) -> float:
    """The same of logistic regression."""
    (x, y), (tested, wanted) = sines(2 * seed), sines(2 * seed + 1)
    return float(LogisticRegression().fit(x, y).score(tested, wanted))


def held_out(seed: int, steps: int) -> dict[float, float]:
    """Negated root mean square error on 150 other points, by nu."""
    (x, y), (tested, wanted) = drawn(150, 6, seed), drawn(150, 6, 100 + seed)
    found = {}
    for nu in (1.0, 100.0, inf):
        mean, _ = machine(x, y, nu, steps).predict(tested)
        found[nu] = -float((mean[:, 0] - wanted).square().mean().sqrt())
    return found


def run(options: BenchOptions) -> list[Claim]:
    """Alignment, trade-off, and held-out points, by seed."""
    seeds, steps = range(options.seeds), options.steps(STEPS)
    aligned = [alignments(seed, steps) for seed in seeds]
    by_nu = {nu: tuple(one[nu] for one in aligned) for nu in (*NUS, inf)}
    traded = [trade(seed, steps) for seed in seeds]
    falls = tuple(float(min(-np.diff(likelihoods))) for likelihoods, _ in traded)
    calms = tuple(float(min(-np.diff(divergences))) for _, divergences in traded)
    epochs, zeros = options.steps(EPOCHS), (0.0,) * options.seeds
    ours, fixed = (tuple(told(seed, nu, epochs) for seed in seeds) for nu in (1.0, inf))
    errors = [held_out(seed, steps) for seed in seeds]
    task = "alignment of the top kernel with the targets"
    return [
        Claim(f"{task}, nu 1", "fixed kernels (NNGP)", by_nu[1.0], by_nu[inf], 0.5),
        Claim(f"{task}, nu 1", "nu 10", by_nu[1.0], by_nu[10.0]),
        Claim(f"{task}, nu 10", "nu 100", by_nu[10.0], by_nu[100.0]),
        Claim(f"{task}, nu 100", "fixed kernels (NNGP)", by_nu[100.0], by_nu[inf]),
        Claim("least fall of the log-likelihood from one nu of 0.1, 1, 10 to the next", "none", falls, zeros),
        Claim("least fall of the divergences, likewise", "none", calms, zeros),
        Claim("points of two sines told, 32 inducing points", "asked", ours, (0.78,) * options.seeds),
        Claim("points of two sines told", "fixed kernels (NNGP)", ours, fixed, None),
        Claim("points of two sines told", "logistic regression", ours, tuple(linear(seed) for seed in seeds), None),
        Claim(
            "error on held-out points of a function of 6 numbers, nu 1, negated",
            "fixed kernels (NNGP)",
            tuple(one[1.0] for one in errors),
            tuple(one[inf] for one in errors),
            None,
        ),
        Claim(
            "the same, nu 100",
            "fixed kernels (NNGP)",
            tuple(one[100.0] for one in errors),
            tuple(one[inf] for one in errors),
            None,
        ),
    ]
