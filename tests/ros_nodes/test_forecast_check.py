"""Recorded tracks, foretold over the graph and compared with what came."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from representation.dynamics.gcrl import GCRL, GRAPH
from representation.dynamics.gcrl.tracks import Tracks
from ros_nodes.forecast_check import main
from tests.ros_nodes.started_node import REPOSITORY

PERIOD_S, STEPS = 0.4, 40


@pytest.fixture
def tracks(tmp_path):
    """An arm that rests, and a person who walks straight on."""
    scenes = torch.zeros(1, STEPS, 2, 2)
    scenes[0, :, 1, 0] = 0.3 * torch.arange(STEPS)
    path = tmp_path / "hall.npz"
    Tracks(scenes, ("arm", "person"), "hall", PERIOD_S).save(path)
    return path


def test_forecasts_of_played_tracks_are_compared_with_what_came(tracks, tmp_path, capsys):
    torch.manual_seed(0)
    GCRL(GRAPH).eval().save(tmp_path / "model")
    words = ["--model", str(tmp_path / "model"), "--tracks", str(tracks), "--duration-s", "9", "--json"]
    assert main([*words, "--samples", "4", "--least-steps", "3"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["forecasts"] >= report["counted"] >= 1
    assert report["constant"] < 0.02
    assert report["single"] >= report["best"] > report["constant"]
    assert report["better"] == 0.0
    assert report["stamp_to_forecast_ms"][0] > 0


def test_a_player_without_tracks_does_not_start():
    done = subprocess.run(
        [sys.executable, "-m", "ros_nodes.track_player_node"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert "tracks: expected a file of tracks, found none" in done.stderr
