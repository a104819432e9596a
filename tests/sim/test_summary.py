from __future__ import annotations

import hashlib
import json
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from sim.statistics import wilson_interval
from sim.summary import read_run, write_results
from tests.sim.synthetic_run import PROTOCOL, describe, results


def test_the_summary_counts_by_task_suite_and_condition(tmp_path: Path) -> None:
    write_results(tmp_path, results(), describe())
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["schema_version"] == 1
    assert summary["protocol"] == PROTOCOL.to_dict()
    assert summary["protocol_sha256"] == PROTOCOL.sha256()
    assert summary["tasks"]["pick"]["episodes"] == 8
    assert summary["tasks"]["pick"]["successes"] == 2
    assert summary["tasks"]["pick"]["success_rate"] == 0.25
    interval = wilson_interval(2, 8)
    assert summary["tasks"]["pick"]["wilson_95"] == pytest.approx([interval.low, interval.high])
    assert summary["tasks"]["pick"]["mean_progress"] == pytest.approx((2 * 1.0 + 6 * 0.25) / 8)
    assert summary["suites"]["lighting"]["successes"] == 5
    assert [cell["successes"] for cell in summary["conditions"]] == [4, 4, 1, 1]
    assert 10 < summary["overall"]["latency_ms"]["p50"] < summary["overall"]["latency_ms"]["p99"] < 30


def test_the_order_of_the_results_does_not_matter(tmp_path: Path) -> None:
    first = write_results(tmp_path / "a", results(), describe())
    second = write_results(tmp_path / "b", reversed(results()), describe())
    assert first["conditions"] == second["conditions"]
    assert read_run(tmp_path / "a").episodes == read_run(tmp_path / "b").episodes


def test_a_row_per_episode_carries_the_hash_of_the_joint_targets(tmp_path: Path) -> None:
    made = results()
    write_results(tmp_path, made, describe(), joint_targets=True)
    rows = pq.read_table(tmp_path / "episodes.parquet").to_pylist()
    assert len(rows) == len(made)
    targets = np.asarray(rows[3]["joint_targets"], dtype="<f8")
    np.testing.assert_array_equal(targets, made[3].joint_targets)
    assert rows[3]["joint_targets_sha256"] == hashlib.sha256(targets.tobytes()).hexdigest()
    assert rows[3]["inference_p50_ms"] == pytest.approx(np.median(made[3].inference_s) * 1e3)


def test_a_run_is_read_back(tmp_path: Path) -> None:
    write_results(tmp_path, results(), describe())
    run = read_run(tmp_path)
    assert run.protocol.sha256() == PROTOCOL.sha256()
    assert set(run.episodes) == set(PROTOCOL.episode_ids())


def test_videos_of_an_earlier_run_do_not_stay(tmp_path: Path) -> None:
    write_results(tmp_path, results(videos=True), describe())
    assert len(list((tmp_path / "videos").glob("*.mp4"))) == 8
    write_results(tmp_path, results(), describe())
    assert not list((tmp_path / "videos").glob("*.mp4"))


def test_missing_and_doubled_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing: reach/nominal-1/3/0"):
        write_results(tmp_path, results()[1:], describe())
    with pytest.raises(ValueError, match="found 17, of which 16 distinct"):
        write_results(tmp_path, [*results(), results()[0]], describe())


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    write_results(tmp_path, results(), describe())
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
    with pytest.raises(ValueError, match="expected schema_version 1, found 99"):
        read_run(tmp_path)


def test_the_machine_is_described_without_its_name(tmp_path: Path) -> None:
    from policies.machine import describe_machine, library_versions

    run = replace(describe(), machine=describe_machine(), versions=library_versions())
    write_results(tmp_path, results(), run)
    text = (tmp_path / "summary.json").read_text()
    assert socket.gethostname() not in text
    assert {"cpu", "cores", "memory_gib"} <= json.loads(text)["machine"].keys()
    assert "mujoco" in json.loads(text)["versions"]
