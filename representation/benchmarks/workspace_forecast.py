"""A second arm and people about it: are they foretold at a new place, after 100 scenes of it?

Scenes are those of `python -m sim.workspace_tracks --seed 1`: the model's decoders were chosen on those of seed 0. A
model of any number of agents learns from three places, and is tuned on the first 100 scenes of the fourth; the later
ones, which share no time with those, are foretold. Rivals are constant velocity, the model before it was tuned, and one
that learned from nothing but the 100 scenes. Of the best of 20 samples, one is chosen for all agents of a scene; those
of single samples are told beside, for the best of many hides how far they spread.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from representation.benchmarks.claims import BenchOptions, Claim
from representation.dynamics.gcrl.forecaster import ShiftAlarm
from representation.dynamics.gcrl.model import GCRL, GRAPH
from representation.dynamics.gcrl.tracks import Tracks, read_tracks
from representation.dynamics.gcrl.training import adapt, constant_velocity, fit, min_ade_fde

NAME = "workspace_tracks"  # directory beside that of the renders
LEARNED, NEW = ("near", "middle", "wide"), "new"
SHOWN, APART, LEAST = 100, 3, 20  # scenes; those that share time with the last one shown; tested, at least
EPOCHS, ADAPTING, SAMPLES = 60, 100, 20
FIRST, NEWEST = 20, 5  # windows of the alarm


def run(options: BenchOptions) -> list[Claim]:
    """Errors by seed.

    Raises:
        FileNotFoundError: there are no tracks; says how to make them.
        ValueError: fewer scenes than are shown and tested.
    """
    directory = options.data.with_name(NAME)
    places = {name: _read(directory, name) for name in (*LEARNED, NEW)}
    found = [_one(seed, places, options) for seed in range(options.seeds)]

    def claim(text: str, name: str, ours: str, baseline: str, least: float | None = 0.0) -> Claim:
        return Claim(text, name, tuple(x[ours] for x in found), tuple(x[baseline] for x in found), least)

    best, single = (
        f"after {SHOWN} scenes: error of the best of {SAMPLES}, m, negated",
        "single samples: error, m, negated",
    )
    constant, anew, before = "constant velocity", "trained anew on them", "before tuning"
    return [
        claim(best, constant, "tuned", "constant"),
        claim(best, anew, "tuned", "anew"),
        claim(best, before, "tuned", "before"),
        claim(single, constant, "tuned, single", "constant", None),
        claim(single, anew, "tuned, single", "anew, single", None),
        claim(f"{best}, the arm alone", constant, "tuned, arm", "constant, arm", None),
        claim(f"{best}, people alone", constant, "tuned, people", "constant, people", None),
        claim("how far s lies from the learned place, deviations", "later at the learned place", "moved", "stayed"),
    ]


def _read(directory: Path, name: str) -> Tracks:
    path = directory / f"{name}.npz"
    if not path.is_file():
        command = f"python -m sim.workspace_tracks --seed 1 --output {directory}"
        raise FileNotFoundError(f"{path}: expected tracks; {command}")
    tracks = read_tracks(path)
    if len(tracks.scenes) < SHOWN + APART + LEAST:
        raise ValueError(f"{path}: expected at least {SHOWN + APART + LEAST} scenes, found {len(tracks.scenes)}")
    return tracks


def _one(seed: int, places: dict[str, Tracks], options: BenchOptions) -> dict[str, float]:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model, anew = GCRL(GRAPH), GCRL(GRAPH)
    learned = [places[name].scenes[: 2 * len(places[name].scenes) // 3] for name in LEARNED]
    fit(model, learned, options.steps(EPOCHS), generator)
    shown, tests = places[NEW].scenes[:SHOWN], places[NEW].scenes[SHOWN + APART :]
    tuned = copy.deepcopy(model)
    adapt(tuned, shown, generator, options.steps(ADAPTING))
    fit(anew, [shown], options.steps(ADAPTING), generator)
    past, future = tests[:, : GRAPH.observed], tests[:, GRAPH.observed :]
    arm = torch.tensor([agent == "arm" for agent in places[NEW].agents])
    told = {name: _told(one, past, seed) for name, one in (("before", model), ("tuned", tuned), ("anew", anew))}
    told["constant"] = constant_velocity(past, future.shape[1])
    found = {}
    for name, samples in told.items():
        found[name] = -float(min_ade_fde(samples, future)[0].mean())
        found[f"{name}, single"] = -float(np.mean([min_ade_fde(one[None], future)[0].mean() for one in samples]))
        found[f"{name}, arm"], found[f"{name}, people"] = (-_error(samples, future, who) for who in (arm, ~arm))
    held = places[LEARNED[-1]].scenes[len(learned[-1]) + APART :]
    return found | {
        name: _shift(model, held[:FIRST], then) for name, then in (("moved", tests), ("stayed", held[FIRST:]))
    }


def _told(model: GCRL, past: Tensor, seed: int) -> Tensor:
    return model.predict(past, SAMPLES, torch.Generator().manual_seed(seed))


def _error(told: Tensor, true: Tensor, who: Tensor) -> float:
    """Mean distance of some agents (agents,), metres, in the samples that are best for all of each scene."""
    every = torch.stack([min_ade_fde(one[None], true)[0] for one in told])
    best = told[every.argmin(dim=0), torch.arange(len(true))]
    return float((best - true).norm(dim=-1)[:, :, who].nanmean())


def _shift(model: GCRL, first: Tensor, then: Tensor) -> float:
    """Mean of what the alarm of forecasts measures in scenes that follow others."""
    alarm, told = ShiftAlarm(FIRST, NEWEST), []
    for scene in torch.cat([first, then]):
        past = scene[None, : GRAPH.observed, scene[0].isfinite().all(dim=-1)]
        with torch.no_grad():
            s = model.posteriors(past)[1].mean[0].mean(dim=0)
        told.append(alarm.shift(s.double().numpy()))
    return float(np.mean([shift for shift in told if shift is not None]))
