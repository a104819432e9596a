"""`python -m sim.results_table LABEL=RUN ...`: evaluations side by side as Markdown, with intervals and paired tests.

Each run gives a row, or one per suite and severity where it has several. The last column is an exact McNemar test
against the first row, over the episodes that both rows have.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from sim.episode_id import EpisodeId
from sim.statistics import mcnemar, wilson_interval
from sim.summary import FinishedRun, read_run


@dataclass(frozen=True, slots=True)
class Arguments:
    """Show evaluations side by side.

    Attributes:
        runs: directories of runs, each as DIR or LABEL=DIR; the others are tested against the first.
        title: heading of the page.
    """

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    title: str = "Results"


@dataclass(frozen=True, slots=True)
class Row:
    """One condition of one run.

    Attributes:
        label: what it is called.
        episodes: success by episode.
    """

    label: str
    episodes: Mapping[EpisodeId, bool]


def rows_of(label: str, run: FinishedRun) -> list[Row]:
    """Split a run by suite and severity; a run of one condition keeps its label alone."""
    conditions: dict[tuple[str, int], dict[EpisodeId, bool]] = {}
    for episode, result in run.episodes.items():
        conditions.setdefault((episode.suite, episode.severity), {})[episode] = bool(result["success"])
    if len(conditions) == 1:
        return [Row(label, next(iter(conditions.values())))]
    return [
        Row(f"{label}: {suite}" + (f", severity {severity}" if severity != 1 else ""), episodes)
        for (suite, severity), episodes in conditions.items()
    ]


def paired_p(first: Row, other: Row) -> float | None:
    """P-value of McNemar's exact test over the shared episodes; None without any."""
    shared = [episode for episode in first.episodes if episode in other.episodes]
    if not shared:
        return None
    outcomes = [np.array([row.episodes[episode] for episode in shared]) for row in (first, other)]
    return mcnemar(*outcomes).p_value


def format_rows(rows: Sequence[Row]) -> str:
    """Lay rows out as a Markdown table: successes of episodes and 95 % Wilson intervals in percent."""
    tasks = list(dict.fromkeys(episode.task for row in rows for episode in row.episodes))
    lines = [
        "| successes of episodes (95 % interval, %) | " + " | ".join([*tasks, "all", "paired p"]) + " |",
        "|---" * (len(tasks) + 3) + "|",
    ]
    for row in rows:
        cells = [_cell([ok for episode, ok in row.episodes.items() if episode.task == task]) for task in tasks]
        p = None if row is rows[0] else paired_p(rows[0], row)
        cells += [_cell(list(row.episodes.values())), "" if p is None else f"{p:.2g}"]
        lines.append(f"| {row.label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(outcomes: Sequence[bool]) -> str:
    if not outcomes:
        return ""
    interval = wilson_interval(sum(outcomes), len(outcomes))
    return f"{sum(outcomes)} of {len(outcomes)} ({100 * interval.low:.0f} to {100 * interval.high:.0f})"


def format_page(title: str, runs: Mapping[str, FinishedRun]) -> str:
    """Write a page: table, inference times, commands, and what it ran on."""
    rows = [row for label, run in runs.items() for row in rows_of(label, run)]
    parts = [f"# {title}", format_rows(rows), "\n".join(_inference(runs)), "\n".join(_commands(runs))]
    parts += ["\n".join(dict.fromkeys(_machine(run.summary) for run in runs.values()))]
    return "\n\n".join(parts) + "\n"


def _inference(runs: Mapping[str, FinishedRun]) -> Iterator[str]:
    yield "| inference, ms | p50 | p95 | p99 | refused chunks | jerk, rad/s^3 |"
    yield "|---|---|---|---|---|---|"
    for label, run in runs.items():
        overall = run.summary["overall"]
        times = " | ".join(f"{overall['latency_ms'][name]:.1f}" for name in ("p50", "p95", "p99"))
        jerk = f"{overall['mean_jerk']:.0f}" if "mean_jerk" in overall else ""
        yield f"| {label} | {times} | {overall['rejected_chunks']} | {jerk} |"


def _commands(runs: Mapping[str, FinishedRun]) -> Iterator[str]:
    yield "```"
    for label, run in runs.items():
        yield f"# {label}; weights {(run.summary['policy']['sha256'] or 'none')[:12]}, {run.summary['created']}"
        yield run.summary["command"]
    yield "```"


def _machine(summary: Mapping[str, Any]) -> str:
    machine, versions = summary["machine"], summary["versions"]
    accelerator = machine["accelerator"] or "no accelerator"
    libraries = ", ".join(f"{name} {versions[name]}" for name in ("python", "mujoco", "torch") if name in versions)
    return f"Measured on {machine['cores']} cores of {machine['cpu']}, {accelerator}; {libraries}."


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = tyro.cli(Arguments, args=args, prog="python -m sim.results_table")
    try:
        runs: dict[str, FinishedRun] = {}
        for given in arguments.runs:
            label, _, directory = given.rpartition("=")
            label = label or Path(directory).name
            if label in runs:
                raise ValueError(f"runs: expected labels that differ, found {label!r} twice")
            runs[label] = read_run(Path(directory))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(format_page(arguments.title, runs), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
