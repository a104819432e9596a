"""In lockstep the graph sends the arm the same joint targets as the in-process evaluation, to the last bit."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import SiglipVisionConfig

from policies.loading import shipped_policies
from policies.rdt.config import RDTConfig
from policies.rdt.embodiment import PANDA
from policies.rdt.image_tower import SiglipTower
from policies.rdt.policy import RDTPolicy
from policies.rdt.settings import RDTSettings
from policies.rdt.word_encoder import WordEncoder
from sim.summary import FinishedRun, read_run
from tests.policies.rdt.conftest import random_model
from tests.ros_nodes.tiny_rdt import TOWER

LIMIT_S = 600.0

# Each test starts several graphs one after the other, and other tests may run beside it.
pytestmark = pytest.mark.timeout(1800)


def run(module: str, policy: str, output: Path, *options: str) -> FinishedRun:
    command = [sys.executable, "-m", module, "--policy", policy, "--joint-targets", "--output", str(output), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    return read_run(output)


def assert_same(first: FinishedRun, second: FinishedRun) -> None:
    assert first.summary["protocol_sha256"] == second.summary["protocol_sha256"]
    assert first.episodes.keys() == second.episodes.keys()
    for episode, row in first.episodes.items():
        other = second.episodes[episode]
        for name in ("success", "progress", "steps", "instruction", "jerk", "rejected_chunks"):
            assert row[name] == other[name], f"{episode}: {name}"
        np.testing.assert_allclose(row["joint_targets"], other["joint_targets"], rtol=0, atol=1e-6)
        assert row["joint_targets_sha256"] == other["joint_targets_sha256"]


def test_the_graph_gives_the_episodes_of_the_in_process_evaluation_every_time(tmp_path):
    options = ("--task", "reach", "--episodes", "2", "--query-steps", "2")
    over_ros = run("ros_nodes.evaluate", "random", tmp_path / "ros", *options)
    assert over_ros.summary["transport"] == "ros"
    for name in ("summary.json", "episodes.parquet", "report.html", "videos/reach-nominal-1-0000.mp4"):
        assert (tmp_path / "ros" / name).is_file()
    assert_same(over_ros, run("sim.evaluate", "random", tmp_path / "in_process", *options, "--videos", "0"))
    assert_same(over_ros, run("ros_nodes.evaluate", "random", tmp_path / "again", *options, "--videos", "0"))


@pytest.mark.skipif("spatialvla_small" not in shipped_policies(), reason="the trained checkpoint is not in this tree")
def test_a_policy_that_looks_through_cameras_sees_and_reads_the_same_over_the_graph(tmp_path):
    options = ("--task", "reach", "--query-steps", "2", "--videos", "0", "--episodes", "1", "--shuffle-instructions")
    over_ros = run("ros_nodes.evaluate", "spatialvla_small", tmp_path / "ros", *options)
    assert_same(over_ros, run("sim.evaluate", "spatialvla_small", tmp_path / "in_process", *options))


def test_a_policy_that_remembers_the_joints_and_looks_back_is_told_of_the_steps_between_its_answers(tmp_path):
    torch.manual_seed(0)
    config = replace(RDTConfig.tiny(), history_steps=12)
    tower = SiglipTower(SiglipVisionConfig(**TOWER, image_size=28, patch_size=14))
    body = replace(PANDA, relative=True, action_scale=(0.01,) * 7 + (0.04,))
    remembering = random_model(config=config)
    with torch.no_grad():  # so that what it does depends on what it remembers
        remembering.history.project.weight.mul_(20.0)
        remembering.history.project.bias.mul_(20.0)
    words = WordEncoder(("reach",), config.lang_token_dim)
    RDTPolicy(remembering, tower, words, RDTSettings("panda", body)).save_pretrained(tmp_path / "policy")
    options = ("--task", "reach", "--episodes", "1", "--query-steps", "5", "--videos", "0")
    over_ros = run("ros_nodes.evaluate", str(tmp_path / "policy"), tmp_path / "ros", *options)
    assert_same(over_ros, run("sim.evaluate", str(tmp_path / "policy"), tmp_path / "in_process", *options))


@pytest.mark.skipif("rdt_small" not in shipped_policies(), reason="the trained checkpoint is not in this tree")
def test_a_policy_for_two_arms_lifts_the_tray_alike_through_two_controllers(tmp_path):
    options = ("--task", "lift_tray", "--episodes", "1", "--query-steps", "8", "--videos", "0")
    over_ros = run("ros_nodes.evaluate", "rdt_small", tmp_path / "ros", *options)
    assert over_ros.protocol.robot == "aloha"
    assert_same(over_ros, run("sim.evaluate", "rdt_small", tmp_path / "in_process", *options))
    assert any(result["success"] for result in over_ros.episodes.values())
