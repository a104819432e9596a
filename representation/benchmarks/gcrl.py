"""Are futures foretold where agents keep another distance than any that was learned from, and after few scenes of it?

Two agents cross; the distance that they keep is the environment. Errors are of the best of 20 samples, the same for
both agents; those of single samples are told beside, for the best of many hides how far they spread.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from representation.benchmarks.claims import BenchOptions, Claim
from representation.dynamics.gcrl.model import GCRL, GCRLConfig
from representation.dynamics.gcrl.scenes import simulate_crossing
from representation.dynamics.gcrl.training import adapt, constant_velocity, fit, min_ade_fde

LEARNED, NEAR, NEW, FAR, OLD = (0.1, 0.3, 0.5), 0.4, 0.6, 0.8, 0.1
SCENES, TESTS, SHOWN, EPOCHS, ADAPTING = 1000, 500, 100, 60, 100
SAMPLES, OTHERS = 20, 10_000  # of a forecast; added to seeds of scenes that are not learned from


def run(options: BenchOptions) -> list[Claim]:
    """Errors by seed."""
    found = [_one(seed, options) for seed in range(options.seeds)]

    def claim(text: str, name: str, ours: str, baseline: str | float, least: float | None = 0.0) -> Claim:
        others = tuple(x[baseline] if isinstance(baseline, str) else baseline for x in found)
        return Claim(text, name, tuple(x[ours] for x in found), others, least)

    best, some = f"best of {SAMPLES}", f"{SHOWN} scenes"
    return [
        claim(f"{NEAR} m, unseen: share of constant velocity's error saved, {best}", "asked", "saved", 0.5),
        claim(f"{NEAR} m, unseen: share of learned distances' error, {best}, negated", "asked: 1.2", "near", -1.2),
        claim(f"{FAR} m over {NEAR} m, {best}", "asked: 1.5", "far", 1.5),
        claim(f"{NEW} m after {some}: share of the error saved, {best}", "asked", "adapted", 0.25),
        claim(
            f"{OLD} m after {some} of {NEW} m: error over that of training all again, negated",
            "asked: 0.9",
            "kept",
            -0.9,
        ),
        claim(f"{NEAR} m, single samples: error, metres, negated", "constant velocity", "single", "constant", None),
    ]


def _one(seed: int, options: BenchOptions) -> dict[str, float]:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = GCRL(GCRLConfig())
    learned = [simulate_crossing(SCENES, distance, seed) for distance in LEARNED]
    fit(model, learned, options.steps(EPOCHS), generator)
    tests = {distance: simulate_crossing(TESTS, distance, OTHERS + seed) for distance in (*LEARNED, NEAR, NEW, FAR)}
    errors = {distance: error(model, scenes, seed) for distance, scenes in tests.items()}
    shown, tuned, all_of_it = (
        simulate_crossing(SHOWN, NEW, 2 * OTHERS + seed),
        copy.deepcopy(model),
        copy.deepcopy(model),
    )
    adapt(tuned, shown, generator, options.steps(ADAPTING))
    adapt(all_of_it, shown, generator, options.steps(ADAPTING), freeze_z=False)
    past, future = _split(tests[NEAR])
    straight = float(min_ade_fde(constant_velocity(past, future.shape[1]), future)[0].mean())
    return {
        "saved": 1 - errors[NEAR] / straight,
        "near": -errors[NEAR] / float(np.mean([errors[distance] for distance in LEARNED])),
        "far": errors[FAR] / errors[NEAR],
        "adapted": 1 - error(tuned, tests[NEW], seed) / errors[NEW],
        "kept": -error(tuned, tests[OLD], seed) / error(all_of_it, tests[OLD], seed),
        "single": -error(model, tests[NEAR], seed, samples=1),
        "constant": -straight,
    }


def error(model: GCRL, scenes: Tensor, seed: int, samples: int = SAMPLES) -> float:
    """Mean distance of the best samples, metres."""
    past, future = _split(scenes)
    return float(min_ade_fde(model.predict(past, samples, torch.Generator().manual_seed(seed)), future)[0].mean())


def _split(scenes: Tensor) -> tuple[Tensor, Tensor]:
    observed = GCRLConfig().observed
    return scenes[:, :observed], scenes[:, observed:]
