"""`report.html`: one page, without any network, that says how well a policy did and shows it.

Style and script stand inside the page. Videos stand inside it too while they are small together, so that the file can
be sent on its own; otherwise the page refers to `videos/` beside it, so that the directory can be copied.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from sim.charts import histogram, success_bars
from sim.statistics import percentiles, wilson_interval

EMBEDDED_VIDEO_BYTES = 24 * 2**20
"""Videos that take more than this together are referred to instead of embedded."""


def write_report(
    output: Path, summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], inference_s: NDArray[np.float64]
) -> Path:
    """Write `report.html` into a run's directory.

    Args:
        output: the run's directory, with its videos.
        summary: content of `summary.json`.
        rows: the columns of `episodes.parquet`, a mapping for each episode.
        inference_s: (Q,) seconds of all queries of the policy.

    Returns:
        Path of the page.
    """
    environment = Environment(
        loader=PackageLoader("sim", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html").render(
        summary=summary,
        rows=rows,
        reference=_reference(summary),
        bars=success_bars([{"label": cell["task"], **cell} for cell in _reference_cells(summary)]),
        matrix=_matrix(summary),
        latency_chart=_latency_chart(inference_s),
        videos=_video_sources(output, rows),
    )
    path = output / "report.html"
    path.write_text(page)
    return path


def _reference_cells(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The first suite at its first severity: the condition that the headline speaks of."""
    protocol = summary["protocol"]
    first = (protocol["suites"][0], protocol["severities"][0])
    return [cell for cell in summary["conditions"] if (cell["suite"], cell["severity"]) == first]


def _reference(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Headline figures over the tasks of the reference condition."""
    cells = _reference_cells(summary)
    episodes, successes = (sum(cell[name] for cell in cells) for name in ("episodes", "successes"))
    interval = wilson_interval(successes, episodes)
    return {
        "suite": cells[0]["suite"],
        "severity": cells[0]["severity"],
        "episodes": episodes,
        "successes": successes,
        "success_rate": successes / episodes,
        "wilson_95": (interval.low, interval.high),
        "mean_task_rate": float(np.mean([cell["success_rate"] for cell in cells])),
        "mean_progress": float(np.mean([cell["mean_progress"] for cell in cells])),
        "worst": min(cells, key=lambda cell: cell["success_rate"]),
    }


def _matrix(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per suite and severity: its cells in the order of the tasks, and the mean of their rates."""
    protocol = summary["protocol"]
    rows = []
    for suite in protocol["suites"]:
        for severity in protocol["severities"]:
            cells = [cell for cell in summary["conditions"] if (cell["suite"], cell["severity"]) == (suite, severity)]
            mean = float(np.mean([cell["success_rate"] for cell in cells]))
            rows.append({"suite": suite, "severity": severity, "cells": cells, "mean": mean})
    return rows


def _latency_chart(inference_s: NDArray[np.float64]) -> str | None:
    milliseconds = np.asarray(inference_s) * 1e3
    marks = percentiles(milliseconds)
    return None if marks is None else histogram(milliseconds, marks, "ms")


def _video_sources(output: Path, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows that have a video, each with the `source` to play it from."""
    filmed = [row for row in rows if row["video"] is not None]
    embed = sum((output / row["video"]).stat().st_size for row in filmed) <= EMBEDDED_VIDEO_BYTES
    return [{**row, "source": _data_uri(output / row["video"]) if embed else row["video"]} for row in filmed]


def _data_uri(path: Path) -> str:
    return "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()
