from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tyro

from ros_nodes.bringup import run_graph
from ros_nodes.episode_runner_node import EvaluationParameters
from ros_nodes.evaluate import GraphArguments, graph_values, main
from ros_nodes.graphs import SIM_EVAL
from sim.summary import read_run

PATIENCE_S = 120.0


def test_the_expert_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"expert.*sim\.evaluate"):
        graph_values(GraphArguments("expert", Path("out")))


@pytest.mark.parametrize("setting", [{"workers": 2}, {"executor": "ray"}])
def test_one_graph_is_one_worker(setting):
    with pytest.raises(ValueError, match=r"one episode at a time.*sim\.evaluate"):
        graph_values(GraphArguments("noop", Path("out"), **setting))


def test_every_argument_reaches_the_graph():
    arguments = GraphArguments(
        "random",
        Path("out"),
        "push",
        "camera",
        "2",
        7,
        3,
        query_steps=2,
        blank_images=True,
        videos=0,
        device="cuda",
        scheduler="temporal_ensembling",
        mode="realtime",
    )
    values = graph_values(arguments)
    expected = {"policy": "random", "task": "push", "suite": "camera", "severity": "2", "episodes": "7", "seed": "3"}
    expected |= {"query_steps": "2", "blank_images": "true", "joint_targets": "false", "videos": "0", "device": "cuda"}
    expected |= {"scheduler": "temporal_ensembling", "mode": "realtime"}
    assert expected.items() <= values.items()
    assert values["output"] == str(Path("out").absolute())
    assert values["robot"] == "panda"
    assert graph_values(GraphArguments("rdt", Path("out"), "sort"))["query_steps"] == "8"
    assert graph_values(GraphArguments("noop", Path("out"), "reach", robot="ur5e"))["robot"] == "ur5e"


def test_a_control_rate_that_the_graph_cannot_change_is_refused():
    with pytest.raises(ValueError, match=r"control_hz.*sim\.evaluate"):
        graph_values(GraphArguments("noop", Path("out"), control_hz=5.0))


def test_the_command_of_the_report_asks_for_the_same_again():
    given = {"policy": "random", "task": "push", "episodes": 3, "scheduler": "temporal_ensembling", "robot": "ur5e"}
    words = shlex.split(EvaluationParameters(**given, output="out").command("realtime"))
    again = tyro.cli(GraphArguments, args=words[3:])
    assert again == GraphArguments(**given, output=Path("out"), videos=1, mode="realtime")


@pytest.mark.parametrize(
    ("options", "cause"), [(["--policy", "nobody"], "nobody"), (["--policy", "noop", "--task", "juggle"], "juggle")]
)
def test_a_wrong_argument_ends_before_any_node_starts(options, cause, tmp_path, capsys):
    assert main([*options, "--output", str(tmp_path)]) == 1
    assert cause in capsys.readouterr().err


def children(pid: int) -> dict[int, str]:
    """Command lines of the children of a process."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found[int(child)] = Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
    return found


def wait_for_line(process: subprocess.Popen, text: str) -> str:
    seen, limit = "", time.monotonic() + PATIENCE_S
    while text not in seen:
        assert select.select([process.stderr], [], [], max(0.0, limit - time.monotonic()))[0], f"no {text!r}: {seen}"
        chunk = os.read(process.stderr.fileno(), 65536).decode()
        assert chunk, f"ended without {text!r}: {seen}"
        seen += chunk
    return seen


def assert_all_end(pids: list[int]) -> None:
    limit = time.monotonic() + PATIENCE_S
    for pid in pids:
        while os.path.exists(f"/proc/{pid}") and time.monotonic() < limit:
            time.sleep(0.05)
        assert not os.path.exists(f"/proc/{pid}"), f"process {pid} is left over"


@pytest.fixture
def evaluation(tmp_path):
    """An evaluation whose first episode has begun, and its nodes."""
    command = [sys.executable, "-m", "ros_nodes.evaluate", "--policy", "noop", "--task", "stack", "--videos", "0"]
    process = subprocess.Popen(
        [*command, "--output", str(tmp_path)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        wait_for_line(process, "episode stack")
        nodes = {words.split("ros_nodes.")[1].split()[0]: pid for pid, words in children(process.pid).items()}
        assert set(nodes) == {"simulator_node", "arm_gateway_node", "policy_node", "episode_runner_node"}
        yield process, nodes
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_a_killed_node_ends_the_evaluation_with_its_name(evaluation):
    process, nodes = evaluation
    os.kill(nodes["policy_node"], signal.SIGKILL)
    _, output = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "policy_node was killed by SIGKILL" in output.decode()
    assert_all_end(list(nodes.values()))


def test_no_node_outlives_a_killed_evaluation(evaluation):
    process, nodes = evaluation
    process.kill()
    process.communicate()
    assert_all_end(list(nodes.values()))


def test_in_realtime_every_episode_moves_the_arm_from_its_own_start(tmp_path):
    wanted = {"mode": "realtime", "policy": "random", "task": "reach", "episodes": "2", "joint_targets": "true"}
    assert run_graph(SIM_EVAL, SIM_EVAL.resolve(wanted | {"output": str(tmp_path)}), sys.stderr) == 0
    run = read_run(tmp_path)
    assert run.summary["protocol"]["tasks"] == ["reach"]
    assert run.summary["transport"] == "ros_realtime"
    assert not list(tmp_path.glob("videos/*"))  # filming would disturb the clock
    assert len(run.episodes) == 2
    for episode in run.episodes.values():
        assert episode["steps"] > 0
        assert len(episode["joint_targets"]) > 0
