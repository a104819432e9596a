from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sim.evaluate import Arguments, main
from sim.summary import read_run

TIMES = {"wall_s", "inference_p50_ms", "inference_p95_ms", "inference_p99_ms"}


def evaluate(output: Path, *arguments: str) -> list[dict[str, Any]]:
    """Run the command; return the rows of its table without the times, which no two runs share."""
    assert main(["--output", str(output), "--videos", "0", "--json", *arguments]) == 0
    rows = read_run(output).episodes.values()
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


@pytest.fixture(scope="module")
def expert_rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    output = tmp_path_factory.mktemp("expert")
    return evaluate(output, "--policy", "expert", "--task", "reach,pick", "--episodes", "2", "--seed", "7")


def test_the_expert_succeeds_and_all_results_are_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--policy", "expert", "--task", "reach", "--episodes", "2", "--videos", "1"]
    assert main([*arguments, "--output", str(tmp_path)]) == 0
    assert "2/2" in capsys.readouterr().out
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["tasks"]["reach"]["success_rate"] == 1.0
    assert summary["command"].startswith("python -m sim.evaluate --policy expert --task reach")
    assert {"scheduler", "safety"} <= summary["protocol"]["execution"].keys()
    assert [path.name for path in (tmp_path / "videos").iterdir()] == ["reach-nominal-1-0000.mp4"]
    assert "data:video/mp4" in (tmp_path / "report.html").read_text()


def test_results_do_not_depend_on_the_number_of_workers(tmp_path: Path, expert_rows: list[dict[str, Any]]) -> None:
    arguments = ("--policy", "expert", "--task", "reach,pick", "--episodes", "2", "--seed", "7", "--workers", "2")
    assert evaluate(tmp_path, *arguments) == expert_rows


def test_the_shipped_policy_gives_the_same_results_on_ray_to_the_bit(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed (pip install 'polyarm[ray]')")
    policy = ("--policy", "spatialvla_small", "--query-steps", "4")
    arguments = (*policy, "--task", "reach", "--episodes", "2", "--seed", "7")
    in_processes = evaluate(tmp_path / "process", *arguments)
    on_ray = evaluate(tmp_path / "ray", *arguments, "--workers", "2", "--executor", "ray")
    assert on_ray == in_processes
    assert len(on_ray) == 2
    assert all(row["joint_targets_sha256"] for row in on_ray)


def test_results_do_not_depend_on_what_ran_before(tmp_path: Path, expert_rows: list[dict[str, Any]]) -> None:
    alone = evaluate(tmp_path, "--policy", "expert", "--task", "pick", "--episodes", "1", "--seed", "7")
    assert alone == [row for row in expert_rows if (row["task"], row["index"]) == ("pick", 0)]


def test_the_random_policy_draws_from_the_episode(tmp_path: Path) -> None:
    arguments = ("--policy", "random", "--task", "reach", "--seed", "7")
    two = evaluate(tmp_path / "two", *arguments, "--episodes", "2", "--workers", "2")
    one = evaluate(tmp_path / "one", *arguments, "--episodes", "1")
    assert two[0] == one[0]
    assert two[0]["joint_targets_sha256"] != two[1]["joint_targets_sha256"]


def test_noop_never_succeeds_and_reads_a_foreign_instruction_when_they_are_shuffled(tmp_path: Path) -> None:
    arguments = ("--policy", "noop", "--task", "push", "--episodes", "1")
    plain = evaluate(tmp_path / "plain", *arguments)[0]
    shuffled = evaluate(tmp_path / "shuffled", *arguments, "--shuffle-instructions")[0]
    assert not plain["success"]
    assert plain["instruction"] != shuffled["instruction"]
    assert plain["joint_targets_sha256"] == shuffled["joint_targets_sha256"]
    assert read_run(tmp_path / "shuffled").protocol.shuffle_instructions


def test_the_robot_follows_from_the_task(tmp_path: Path) -> None:
    arguments = ("--policy", "expert", "--task", "transfer_cube", "--episodes", "1")
    assert evaluate(tmp_path / "expert", *arguments)[0]["success"]
    protocol = read_run(tmp_path / "expert").protocol
    assert (protocol.robot, protocol.control_hz) == ("aloha", 25.0)
    assert not evaluate(tmp_path / "random", "--policy", "random", *arguments[2:])[0]["success"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "nowhere"], "'nowhere'"),
        (["--policy", "noop", "--task", "juggle"], "task: expected one of"),
        (["--policy", "noop", "--task", "pick,transfer_cube"], "tasks: expected some of one robot"),
        (["--policy", "noop", "--suite", "storm"], "suite: expected one of"),
        (["--policy", "noop", "--severity", "4"], "severity: expected one of"),
        (["--policy", "noop", "--workers", "0"], "workers: expected >= 1"),
    ],
)
def test_what_cannot_be_run_is_named_and_exits_with_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main([*arguments, "--output", str(tmp_path / "run")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_robot_of_ones_own_tries_the_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("{based_on: xarm7, name: bench_arm}")
    rows = evaluate(tmp_path / "out", "--policy", "expert", "--task", "reach", "--episodes", "1", "--robot", str(own))
    assert [row["success"] for row in rows] == [True]
    capsys.readouterr()
    refused = ["--policy", "noop", "--task", "sort", "--episodes", "1", "--robot", str(own)]
    assert main(["--output", str(tmp_path / "refused"), *refused]) == 1
    assert "expected one with as many arms as task 'sort' needs, found 'bench_arm'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("policy", "asked", "steps"), [("rdt", None, 8), ("noop", None, 1), ("rdt", 2, 2), ("expert", None, 1)]
)
def test_a_policy_is_asked_as_seldom_as_its_files_tell(policy, asked, steps, tmp_path):
    assert Arguments(policy, tmp_path, "sort", query_steps=asked).protocol().query_steps == steps
