from __future__ import annotations

import numpy as np
import pytest
import torch

from representation.dynamics.gcrl.tracks import read_tracks
from sim.workspace_tracks import SCENE_EVERY, TracksOptions, arm_track, simulate


def test_an_arm_works_without_a_jump_and_as_fast_as_it_may():
    track = arm_track(15, step=0.02, seed=0)
    assert track.shape == (15, 2)
    ways = np.linalg.norm(np.diff(track, axis=0), axis=1)
    assert 0.02 < ways.max() < 0.16  # it may go 0.08 m in 0.4 s, and a little more while it swings into a new task
    assert np.ptp(track, axis=0).max() > 0.05
    np.testing.assert_array_equal(track[:5], arm_track(5, step=0.02, seed=0))


def test_scenes_hold_one_arm_and_some_people_and_follow_each_other(tmp_path):
    options = TracksOptions(tmp_path, scenes=3, people=2, noise=0.0)
    tracks = simulate("near", options)
    tracks.save(tmp_path / "near.npz")
    found = read_tracks(tmp_path / "near.npz")
    assert (found.environment, found.agents, found.period_s) == ("near", ("arm", "person", "person"), 0.4)
    assert found.scenes.shape == (3, 20, 3, 2)
    there = found.scenes.isfinite().all(dim=(1, 3))
    assert there[:, :2].all()
    arm = found.scenes[:, :, 0]
    torch.testing.assert_close(arm[1:, :-SCENE_EVERY], arm[:-1, SCENE_EVERY:])
    people = found.scenes[:, :, 1]
    assert 0.3 < people.diff(dim=1).norm(dim=-1).median() < 0.5
    assert (people - arm).norm(dim=-1).min() > 0.3


def test_what_cannot_be_simulated_is_refused(tmp_path):
    with pytest.raises(ValueError, match="scenes, people, noise: expected at least 1, 1 and 0, found 0"):
        TracksOptions(tmp_path, scenes=0)
