"""The report's charts as inline SVG; colours come from the page's style sheet by class, so they follow its theme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

_WIDTH = 1000


def success_bars(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Horizontal bar per row with its Wilson interval as a whisker.

    Args:
        rows: mappings with `label`, `successes`, `episodes`, `success_rate` and `wilson_95`.
    """
    left, right, row_height, top = 110, 150, 38, 8
    scale = _WIDTH - left - right
    bottom = top + row_height * len(rows)
    parts = []
    for tick in range(0, 101, 25):
        x = left + scale * tick / 100
        parts.append(_line(x, top, x, bottom, "grid"))
        parts.append(_text(x, bottom + 18, f"{tick} %", "tick", "middle"))
    for number, row in enumerate(rows):
        middle = top + row_height * (number + 0.5)
        low, high = (left + scale * bound for bound in row["wilson_95"])
        width = scale * row["success_rate"]
        parts.append(_text(left - 14, middle + 5, row["label"], "label", "end"))
        parts.append(f'<rect class="track" x="{left}" y="{middle - 11}" width="{scale}" height="22" rx="4"/>')
        parts.append(f'<rect class="bar" x="{left}" y="{middle - 11}" width="{width:.1f}" height="22" rx="4"/>')
        parts.append(_line(low, middle, high, middle, "whisker"))
        parts += [_line(x, middle - 6, x, middle + 6, "whisker") for x in (low, high)]
        parts.append(_text(left + scale + 14, middle + 5, f"{100 * row['success_rate']:.0f} %", "value", "start"))
        parts.append(_text(_WIDTH, middle + 5, f"{row['successes']} / {row['episodes']}", "tick", "end"))
    return _svg(bottom + 26, "Success rate by task with 95 % Wilson intervals", parts)


def histogram(samples: NDArray[np.float64], marks: Mapping[str, float], unit: str, bins: int = 40) -> Markup:
    """Histogram of non-negative samples; the last bin also holds all beyond the axis.

    Args:
        samples: (N,) values, N >= 1.
        marks: values to mark with a vertical line, by label.
        unit: unit of the values, for the axis.
        bins: number of bars.
    """
    height, top, left = 200, 34, 8
    scale = _WIDTH - 2 * left
    end = max(1.25 * float(np.percentile(samples, 99)), 1e-9)
    counts, _ = np.histogram(np.minimum(samples, end * (1 - 1e-9)), bins=bins, range=(0.0, end))
    bottom, bar = top + height, scale / bins
    parts = []
    for number, count in enumerate(counts):
        tall = height * float(count) / float(counts.max())
        parts.append(
            f'<rect class="bar" x="{left + number * bar + 1:.1f}" y="{bottom - tall:.1f}" width="{bar - 2:.1f}" '
            f'height="{tall:.1f}" rx="2"/>'
        )
    parts.append(_line(left, bottom, left + scale, bottom, "axis"))
    for tick in _round_ticks(end):
        x = left + scale * tick / end
        parts.append(_text(x, bottom + 18, f"{tick:.3g} {unit}", "tick", "middle" if tick else "start"))
    for (label, value), row in zip(marks.items(), _label_rows(list(marks.values()), end), strict=True):
        x = left + scale * value / end
        parts.append(_line(x, 4 + 16 * row, x, bottom, "mark"))
        parts.append(_text(x + 5, 14 + 16 * row, f"{label} {value:.3g} {unit}", "mark-label", "start"))
    return _svg(bottom + 26, "Histogram of the policy's inference time", parts)


def _round_ticks(end: float) -> NDArray[np.float64]:
    """Multiples of 1, 2 or 5 times a power of ten from 0 to a little before `end`, at most eight."""
    power = 10.0 ** np.floor(np.log10(end))
    step = next(factor * power for factor in (0.1, 0.2, 0.5, 1.0, 2.0) if end / (factor * power) <= 7)
    return np.arange(0.0, 0.97 * end, step)


def _label_rows(values: Sequence[float], end: float) -> list[int]:
    """Rows for labels in ascending order, so that neighbours closer than a label's width do not overlap."""
    rows, row = [], 0
    for number, value in enumerate(values):
        close = number > 0 and value - values[number - 1] < 0.13 * end
        row = row + 1 if close else 0
        rows.append(row)
    return rows


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: object, kind: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: float, title: str, parts: Sequence[str]) -> Markup:
    body = "".join(parts)
    return Markup(
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">{body}</svg>'
    )
