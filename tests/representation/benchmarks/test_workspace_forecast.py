from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from representation.benchmarks import workspace_forecast
from representation.benchmarks.claims import BenchOptions
from representation.benchmarks.workspace_forecast import LEARNED, NAME, NEW, run
from representation.dynamics.gcrl import GRAPH
from representation.dynamics.gcrl.scenes import simulate_people
from representation.dynamics.gcrl.tracks import Tracks
from representation.dynamics.gcrl.training import constant_velocity


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.setattr(workspace_forecast, "GRAPH", dataclasses.replace(GRAPH, latent=8, samples=2))
    for name, value in (("SHOWN", 8), ("APART", 1), ("LEAST", 4), ("FIRST", 2), ("NEWEST", 1)):
        monkeypatch.setattr(workspace_forecast, name, value)
    return BenchOptions(seeds=2, scale=0.02, data=tmp_path / "renders")


def write(options, places, scenes=16):
    """Scenes of an arm that stands still and of two people, of whom the second is not always there."""
    directory = options.data.with_name(NAME)
    directory.mkdir(exist_ok=True)
    for number, place in enumerate(places):
        arm = torch.zeros(scenes, 20, 2)
        people = simulate_people(arm, 2, 0.3, torch.Generator().manual_seed(number))
        people[::2, :, 1] = torch.nan
        tracks = torch.cat([arm[:, :, None], people], dim=2)
        Tracks(tracks, ("arm", "person", "person"), place, 0.4).save(directory / f"{place}.npz")


def test_errors_are_told_of_all_and_of_arm_and_people_alone(options):
    write(options, (*LEARNED, NEW))
    claims = run(options)
    assert all(np.isfinite([*claim.ours, *claim.baseline]).all() for claim in claims)
    arm, people, whole = (
        next(claim for claim in claims if claim.baseline_name == "constant velocity" and words in claim.claim)
        for words in ("arm alone", "people alone", "best of 20")
    )
    assert arm.baseline == (0.0, 0.0)
    assert min(people.ours) < min(whole.ours) < 0
    assert max(people.baseline) < max(whole.baseline) < 0


def test_one_sample_is_chosen_for_all_agents_of_a_scene():
    true = torch.zeros(1, 12, 2, 2)
    told = torch.zeros(2, 1, 12, 2, 2)
    told[0, ..., 0, 0], told[0, ..., 1, 0] = 1.0, 2.0
    told[1, ..., 0, 0], told[1, ..., 1, 0] = 0.0, 2.5
    first = torch.tensor([True, False])
    assert workspace_forecast._error(told, true, first) == 0.0
    assert workspace_forecast._error(told, true, ~first) == 2.5
    assert constant_velocity(true[:, :8], 12).abs().max() == 0


def test_what_is_missing_is_named_with_the_command(options):
    with pytest.raises(FileNotFoundError, match=r"near\.npz: expected tracks; python -m sim\.workspace_tracks"):
        run(options)
    write(options, LEARNED, scenes=12)
    with pytest.raises(ValueError, match=r"near\.npz: expected at least 13 scenes, found 12"):
        run(options)
