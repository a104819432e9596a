from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from policies.data.recorded_path import recorded_path
from policies.robots import get_robot
from representation.data.lerobot_dataset import LeRobotDataset
from representation.data.lerobot_writer import LeRobotWriter
from ros_nodes.replay import Arguments, graph_values, main
from tests.ros_nodes.started_node import REPOSITORY

ROBOT = get_robot("panda")
TOLERANCE = 0.06  # rad; the simulated arm follows with the lag of its actuators
LIMIT_S = 120.0


def write_dataset(root: Path, robot: str = "panda", seconds: float = 2.5) -> Path:
    features = {
        "observation.state": {"dtype": "float32", "shape": (8,)},
        "action": {"dtype": "float32", "shape": (7,)},
    }
    writer = LeRobotWriter(root, 10.0, features, robot)
    for time in np.arange(0.0, seconds, 0.1):
        state = ROBOT.home.copy()
        state[0] += 0.3 + 0.2 * np.sin(1.5 * time)
        state[3] += 0.1 * (1 - np.cos(time))
        opening = 0.0 if time > 1.0 else 1.0
        action = np.array([0, 0, 0, 0, 0, 0, opening], np.float32)
        writer.add_frame({"observation.state": state.astype(np.float32), "action": action}, "swing")
    writer.save_episode()
    writer.finalize()
    return root


@pytest.mark.parametrize("mode", ["realtime", "lockstep"])
def test_the_replayed_path_follows_the_recorded_one_across_processes(tmp_path, mode):
    dataset = write_dataset(tmp_path / "dataset")
    output = tmp_path / "result.json"
    options = ["--task", "stack", "--mode", mode, "--output", str(output)]
    process = subprocess.run(
        [sys.executable, "-m", "ros_nodes.replay", str(dataset), *options],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert process.returncode == 0, process.stderr
    result = json.loads(output.read_text())
    assert result["joint_states"] >= 15
    assert result["max_deviation_rad"] < TOLERANCE, result


def test_the_path_has_arms_as_measured_and_grippers_as_commanded(tmp_path):
    path = recorded_path(LeRobotDataset(write_dataset(tmp_path / "dataset")), 0, ROBOT)
    assert (path.positions.shape, path.period, path.instruction) == ((25, 8), 0.1, "swing")
    assert path.positions[0, 0] == pytest.approx(ROBOT.home[0] + 0.3)
    np.testing.assert_allclose(path.positions[[0, -1], 7], [0.04, 0.0])


def test_a_recording_of_another_robot_is_refused_before_anything_starts(tmp_path, capsys):
    dataset = write_dataset(tmp_path / "dataset", robot="aloha")
    assert main([str(dataset)]) == 1
    assert "expected robot 'panda', found 'aloha'" in capsys.readouterr().err


def test_an_episode_that_is_not_there_and_lockstep_on_an_arm_are_refused(tmp_path):
    dataset = write_dataset(tmp_path / "dataset")
    with pytest.raises(ValueError, match="expected an episode in"):
        graph_values(Arguments(dataset, episode=7))
    with pytest.raises(ValueError, match="expected realtime on a real arm"):
        graph_values(Arguments(dataset, twin=False, mode="lockstep"))


def test_every_argument_reaches_the_graph(tmp_path):
    dataset = write_dataset(tmp_path / "dataset")
    values = graph_values(Arguments(dataset, twin=False, task="pick", seed=3))
    expected = {"dataset": str(dataset), "episode": "0", "twin": "false", "task": "pick", "seed": "3", "output": ""}
    assert expected.items() <= values.items()
    assert values["use_sim_time"] == "false"
    assert values["shadow"] == "true", "expected a real arm that moves only when told so"
    own = tmp_path / "own.yaml"
    told = graph_values(Arguments(dataset, twin=False, shadow=False, params_file=own))
    assert (told["shadow"], told["params_file"]) == ("false", str(own))
