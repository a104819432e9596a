from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sim.compare import compare, main
from sim.episode import EpisodeResult
from sim.protocol import EvaluationProtocol
from sim.summary import read_run, write_results
from tests.sim.synthetic_run import PROTOCOL, describe, result, results


def write(
    directory: Path, made: list[EpisodeResult] | None = None, protocol: EvaluationProtocol = PROTOCOL, name: str = "a"
) -> Path:
    write_results(directory, made or results(protocol), describe(protocol, name))
    return directory


def worse(protocol: EvaluationProtocol = PROTOCOL) -> list[EpisodeResult]:
    """As `results`, but pick never succeeds: it loses two episodes."""
    return [result(episode, episode.task == "reach") for episode in protocol.episode_ids()]


def test_pairs_are_counted_per_task_and_overall(tmp_path: Path) -> None:
    comparison = compare(read_run(write(tmp_path / "a")), read_run(write(tmp_path / "b", worse())))
    assert comparison["tasks"]["reach"]["mcnemar_p"] == 1.0
    pick = comparison["tasks"]["pick"]
    assert (pick["episodes"], pick["only_first"], pick["only_second"]) == (8, 2, 0)
    assert pick["mcnemar_p"] == pytest.approx(0.5)
    assert pick["success_difference"] == pytest.approx(-0.25)
    assert pick["progress_difference"] == pytest.approx(-0.75 * 2 / 8)
    low, high = pick["success_difference_95"]
    assert low < -0.25 < high <= 0.0
    assert comparison["overall"]["success_rates"] == [10 / 16, 8 / 16]


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    run = read_run(write(tmp_path / "a"))
    overall = compare(run, run)["overall"]
    assert overall["success_difference_95"] == overall["progress_difference_95"] == [0.0, 0.0]


def test_different_protocols_are_refused_by_name_unless_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blanked = replace(PROTOCOL, blank_images=True)
    first, second = write(tmp_path / "a"), write(tmp_path / "b", worse(blanked), blanked)
    assert main([str(first), str(second)]) == 1
    assert "blank_images: False against True" in capsys.readouterr().err
    assert main([str(first), str(second), "--allow-different"]) == 0
    assert "protocols differ in blank_images" in capsys.readouterr().out


def test_runs_without_a_common_episode_cannot_be_compared(tmp_path: Path) -> None:
    other = replace(PROTOCOL, seed=4)
    first, second = read_run(write(tmp_path / "a")), read_run(write(tmp_path / "b", None, other))
    with pytest.raises(ValueError, match="found none"):
        compare(first, second, allow_different=True)


def test_json_is_printed_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b", worse(), name="b")
    assert main([str(first), str(second), "--json"]) == 0
    comparison = json.loads(capsys.readouterr().out)
    assert [policy["name"] for policy in comparison["policies"]] == ["a", "b"]


def test_a_missing_run_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none"), str(tmp_path / "none")]) == 1
    assert "expected the summary of a finished evaluation" in capsys.readouterr().err
