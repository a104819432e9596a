from __future__ import annotations

from pathlib import Path

import pytest

from sim.results_table import main, paired_p, rows_of
from sim.summary import read_run
from tests.sim.synthetic_run import PROTOCOL
from tests.sim.test_compare import worse, write


def test_rows_count_successes_by_task_and_are_tested_against_the_first(tmp_path: Path, capsys) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b", worse())
    assert main([f"good={first}", f"bad={second}", "--title", "Two runs"]) == 0
    page = capsys.readouterr().out
    rows = [row for label, run in (("good", first), ("bad", second)) for row in rows_of(label, read_run(run))]
    assert page.startswith("# Two runs\n")
    for row in rows:
        done = sum(ok for episode, ok in row.episodes.items() if episode.task == "pick")
        assert f"| {row.label} | " in page
        assert f"{done} of " in page
    assert paired_p(rows[0], rows[0]) == 1.0
    assert read_run(first).summary["command"] in page


def test_a_run_of_several_suites_has_a_row_for_each(tmp_path: Path) -> None:
    run = read_run(write(tmp_path / "a"))
    labels = [row.label for row in rows_of("mine", run)]
    conditions = {(episode.suite, episode.severity) for episode in PROTOCOL.episode_ids()}
    assert len(labels) == len(conditions)
    assert len(conditions) == 1 or all(label.startswith("mine: ") for label in labels)


def test_labels_that_do_not_differ_are_refused(tmp_path: Path, capsys) -> None:
    run = write(tmp_path / "a")
    assert main([str(run), str(run)]) == 1
    assert "found 'a' twice" in capsys.readouterr().err


def test_a_directory_that_is_no_run_is_named(tmp_path: Path, capsys) -> None:
    assert main([str(tmp_path / "nothing")]) == 1
    assert "nothing" in capsys.readouterr().err


@pytest.mark.parametrize("label", ["x", "with = sign"])
def test_labels_may_hold_anything(tmp_path: Path, capsys, label: str) -> None:
    assert main([f"{label}={write(tmp_path / 'a')}"]) == 0
    assert f"| {label}" in capsys.readouterr().out
