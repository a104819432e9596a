"""What an evaluation leaves behind: `summary.json`, `episodes.parquet`, `videos/` and `report.html`.

Both evaluations, in process and over the ROS graph, end in `write_results`; `read_run` opens a finished run again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from policies.machine import describe_machine, library_versions
from sim.episode import EpisodeResult
from sim.episode_id import EpisodeId
from sim.protocol import EvaluationProtocol
from sim.report import write_report
from sim.statistics import percentiles, wilson_interval

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class PolicyDescription:
    """Which policy was evaluated.

    Attributes:
        name: as it was asked for.
        sha256: hash of its files (`policy_sha256`), or None for those without weights.
    """

    name: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class RunDescription:
    """What was run, where and how.

    Attributes:
        policy: who acted.
        protocol: what was asked.
        command: the shell command that repeats the run.
        transport: `in_process`, or `ros` for the ROS graph.
        workers: number of episodes that ran at the same time; 1 makes latencies comparable.
        versions: library versions.
        machine: description of the machine.
    """

    policy: PolicyDescription
    protocol: EvaluationProtocol
    command: str
    transport: str = "in_process"
    workers: int = 1
    versions: Mapping[str, str] = field(default_factory=library_versions)
    machine: Mapping[str, Any] = field(default_factory=describe_machine)


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run read back from its directory.

    Attributes:
        summary: content of `summary.json`.
        protocol: its protocol.
        episodes: rows of `episodes.parquet` by episode.
    """

    summary: dict[str, Any]
    protocol: EvaluationProtocol
    episodes: dict[EpisodeId, dict[str, Any]]


def write_results(
    output: Path, results: Iterable[EpisodeResult], run: RunDescription, joint_targets: bool = False
) -> dict[str, Any]:
    """Write a finished evaluation into a directory, replacing one that is there.

    Args:
        output: directory, made where it is missing.
        results: one result for each episode of the protocol, in any order.
        run: what was run.
        joint_targets: also store the joint targets in `episodes.parquet`, not only their hashes.

    Returns:
        The content of `summary.json`.

    Raises:
        ValueError: results are missing, doubled, or not of the protocol.
    """
    ordered = _in_protocol_order(results, run.protocol)
    videos = output / "videos"
    videos.mkdir(parents=True, exist_ok=True)
    for old in videos.glob("*.mp4"):
        old.unlink()
    for result in ordered:
        if result.video is not None:
            (output / video_path(result.id)).write_bytes(result.video)
    rows = [_row(result) for result in ordered]
    pq.write_table(_table(rows, ordered if joint_targets else None), output / "episodes.parquet")
    summary = summarise(ordered, run)
    (output / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    write_report(output, summary, rows, np.concatenate([result.inference_s for result in ordered]))
    return summary


def read_run(directory: Path) -> FinishedRun:
    """Read what `write_results` wrote.

    Raises:
        FileNotFoundError: no run there.
        ValueError: of another schema version.
    """
    path = directory / "summary.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected the summary of a finished evaluation, found none")
    summary = json.loads(path.read_text())
    if summary.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"{path}: expected schema_version {SCHEMA_VERSION}, found {summary.get('schema_version')!r}")
    rows = pq.read_table(directory / "episodes.parquet").to_pylist()
    episodes = {EpisodeId(*(row[name] for name in _ID_COLUMNS)): row for row in rows}
    return FinishedRun(summary, EvaluationProtocol.from_dict(summary["protocol"]), episodes)


def summarise(results: Sequence[EpisodeResult], run: RunDescription) -> dict[str, Any]:
    """Content of `summary.json`: the run's description and statistics overall, by task, by suite and by condition."""
    return {
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": run.command,
        "transport": run.transport,
        "workers": run.workers,
        "policy": asdict(run.policy),
        "protocol": run.protocol.to_dict(),
        "protocol_sha256": run.protocol.sha256(),
        "versions": dict(run.versions),
        "machine": dict(run.machine),
        "overall": episode_statistics(results),
        "tasks": {name: episode_statistics([r for r in results if r.id.task == name]) for name in run.protocol.tasks},
        "suites": {
            name: episode_statistics([r for r in results if r.id.suite == name]) for name in run.protocol.suites
        },
        "conditions": [
            asdict(cell)
            | episode_statistics(
                [r for r in results if (r.id.task, r.id.suite, r.id.severity) == (cell.task, cell.suite, cell.severity)]
            )
            for cell in run.protocol.conditions()
        ],
    }


def episode_statistics(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Statistics of some episodes; latencies are those of the policy's inference, in milliseconds."""
    successes = [result for result in results if result.success]
    interval = wilson_interval(len(successes), len(results))
    return {
        "episodes": len(results),
        "successes": len(successes),
        "success_rate": len(successes) / len(results),
        "wilson_95": [interval.low, interval.high],
        "mean_progress": float(np.mean([result.progress for result in results])),
        "mean_steps": float(np.mean([result.steps for result in results])),
        "mean_steps_of_successes": float(np.mean([r.steps for r in successes])) if successes else None,
        "mean_jerk": float(np.mean([result.jerk for result in results])),
        "rejected_chunks": sum(result.rejected for result in results),
        "latency_ms": percentiles(np.concatenate([result.inference_s for result in results]) * 1e3),
    }


def video_path(episode: EpisodeId) -> str:
    """Where an episode's video lies, relative to the run's directory."""
    task = episode.task.replace("/", "_")
    return f"videos/{task}-{episode.suite}-{episode.severity}-{episode.index:04d}.mp4"


def _in_protocol_order(results: Iterable[EpisodeResult], protocol: EvaluationProtocol) -> list[EpisodeResult]:
    results = list(results)
    by_id = {result.id: result for result in results}
    expected = protocol.episode_ids()
    missing = [str(episode) for episode in expected if episode not in by_id]
    if missing or len(results) != len(expected):
        raise ValueError(
            f"results: expected one for each of the protocol's {len(expected)} episodes, found {len(results)}, "
            f"of which {len(by_id)} distinct; missing: {', '.join(missing[:5]) or 'none'}"
        )
    return [by_id[episode] for episode in expected]


_ID_COLUMNS = ("task", "suite", "severity", "index", "seed")


def _row(result: EpisodeResult) -> dict[str, Any]:
    latency = percentiles(result.inference_s * 1e3) or {"p50": None, "p95": None, "p99": None}
    return {
        **asdict(result.id),
        "success": result.success,
        "progress": result.progress,
        "steps": result.steps,
        "instruction": result.instruction,
        "jerk": result.jerk,
        "rejected_chunks": result.rejected,
        "wall_s": result.wall_s,
        **{f"inference_{name}_ms": value for name, value in latency.items()},
        "joint_targets_sha256": result.joint_targets_sha256,
        "video": video_path(result.id) if result.video is not None else None,
    }


def _table(rows: list[dict[str, Any]], with_targets: Sequence[EpisodeResult] | None) -> pa.Table:
    columns = [
        *((name, pa.string()) for name in ("task", "suite")),
        *((name, pa.int64()) for name in ("severity", "index", "seed")),
        ("success", pa.bool_()),
        ("progress", pa.float64()),
        ("steps", pa.int64()),
        ("instruction", pa.string()),
        ("jerk", pa.float64()),
        ("rejected_chunks", pa.int64()),
        *((name, pa.float64()) for name in ("wall_s", "inference_p50_ms", "inference_p95_ms", "inference_p99_ms")),
        ("joint_targets_sha256", pa.string()),
        ("video", pa.string()),
    ]
    table = pa.Table.from_pylist(rows, schema=pa.schema(columns))
    if with_targets is None:
        return table
    targets = [result.joint_targets.tolist() for result in with_targets]
    return table.append_column("joint_targets", pa.array(targets, type=pa.list_(pa.list_(pa.float64()))))
