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
from representation.dynamics.gcrl.identifiability import mean_correlation_coefficient
from representation.dynamics.gcrl.model import GCRL, GCRLConfig
from representation.dynamics.gcrl.scenes import simulate_crossing
from representation.dynamics.gcrl.training import SAMPLES, adapt, constant_velocity, fit, forecast_error, min_ade_fde

LEARNED, NEAR, NEW, FAR, OLD = (0.1, 0.3, 0.5), 0.4, 0.6, 0.8, 0.1
SCENES, TESTS, SHOWN, EPOCHS, ADAPTING = 2000, 500, 100, 60, 100
VALIDATED = 300  # scenes of each distance by which the best epoch is chosen
OTHERS = 10_000  # added to seeds of scenes that are not learned from


def run(options: BenchOptions) -> list[Claim]:
    """Errors by seed, and how alike the causes are that two seeds find."""
    models = [_trained(seed, options) for seed in range(options.seeds)]
    found = [_one(model, seed, options) for seed, model in enumerate(models)]
    untrained = [GCRL(GCRLConfig()) for _ in models]
    for seed, one in enumerate(found):
        one["alike"], one["untrained"] = (_alike(some[seed], some[seed - 1], seed) for some in (models, untrained))

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
        claim("s of the seed before told linearly by s: mean correlation", "asked", "alike", 0.8),
        claim("s of the seed before told linearly by s: mean correlation", "untrained", "alike", "untrained", None),
        claim(f"{NEAR} m, single samples: error, metres, negated", "constant velocity", "single", "constant", None),
    ]


def _trained(seed: int, options: BenchOptions) -> GCRL:
    torch.manual_seed(seed)
    model = GCRL(GCRLConfig())
    learned = [simulate_crossing(SCENES, distance, seed) for distance in LEARNED]
    validation = torch.cat([simulate_crossing(VALIDATED, distance, 3 * OTHERS + seed) for distance in LEARNED])
    generator = torch.Generator().manual_seed(seed)
    fit(model, learned, options.steps(EPOCHS), generator, validation=validation)
    return model


def _one(model: GCRL, seed: int, options: BenchOptions) -> dict[str, float]:
    generator = torch.Generator().manual_seed(OTHERS + seed)
    tests = {distance: simulate_crossing(TESTS, distance, OTHERS + seed) for distance in (*LEARNED, NEAR, NEW, FAR)}
    errors = {distance: forecast_error(model, scenes, seed=seed) for distance, scenes in tests.items()}
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
        "adapted": 1 - forecast_error(tuned, tests[NEW], seed=seed) / errors[NEW],
        "kept": -forecast_error(tuned, tests[OLD], seed=seed) / forecast_error(all_of_it, tests[OLD], seed=seed),
        "single": -forecast_error(model, tests[NEAR], samples=1, seed=seed),
        "constant": -straight,
    }


def _alike(model: GCRL, other: GCRL, seed: int) -> float:
    scenes = torch.cat([simulate_crossing(TESTS, distance, OTHERS + seed) for distance in LEARNED])
    with torch.no_grad():
        causes = [one.posteriors(_split(scenes)[0])[1].mean for one in (model, other)]
    return mean_correlation_coefficient(*causes)


def _split(scenes: Tensor) -> tuple[Tensor, Tensor]:
    observed = GCRLConfig().observed
    return scenes[:, :observed], scenes[:, observed:]
