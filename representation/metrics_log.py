"""`MetricsLog`: the numbers of a training run, in a JSONL file, and their picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

METRICS_FILE = "metrics.jsonl"
PICTURE_FILE = "loss.png"
DRAWN = ("validation/accuracy/", "validation/error/", "validation/probe/")
"""Held-out measures that are drawn."""


class MetricsLog:
    """Numbers of a run, one JSON object a line, in `metrics.jsonl`.

    Args:
        directory: of the run.
        step: lines of later steps, written by a run that was killed after its last save, are dropped.
    """

    def __init__(self, directory: Path, step: int) -> None:
        self.path = directory / METRICS_FILE
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        self.rows: list[dict[str, Any]] = [row for row in map(_parse_line, lines) if row and row["step"] <= step]
        self.path.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one object; it has a `step`."""
        self.rows.append(dict(row))
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def draw(self) -> None:
        """Draw loss, held-out accuracy or error, and learning rate over the steps into `loss.png`."""
        # Imported late: drawing is not needed to train on a machine without fonts or displays.
        from matplotlib.figure import Figure

        training = [row for row in self.rows if "loss" in row]
        held_out = [row for row in self.rows if "validation/loss" in row]
        figure = Figure(figsize=(9, 7), layout="constrained")
        loss, measure, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 1))
        steps = [row["step"] for row in training]
        loss.plot(steps, [row["loss"] for row in training], linewidth=0.8, label="training")
        marked = [row["step"] for row in held_out]
        loss.plot(
            marked, [row["validation/loss"] for row in held_out], "o-", label="held-out episodes (averaged weights)"
        )
        loss.set_ylabel("loss")
        for name in [key for key in (held_out[-1] if held_out else {}) if key.startswith(DRAWN)]:
            measure.plot(marked, [row[name] for row in held_out], "o-", label=name.removeprefix("validation/"))
        measure.set_ylabel("held-out")
        rate.plot(steps, [row["lr"] for row in training])
        rate.set_ylabel("learning rate")
        rate.set_xlabel("step")
        for axes in (loss, measure):
            if axes.lines:
                axes.legend()
            axes.grid(alpha=0.3)
        figure.savefig(self.path.with_name(PICTURE_FILE), dpi=100)


def _parse_line(line: str) -> dict[str, Any] | None:
    # A killed run may leave half a line.
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None
