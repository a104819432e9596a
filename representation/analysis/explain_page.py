"""The page of `representation.explain`: what an encoder keeps and drops, with its charts and pictures inside."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from representation.analysis.feature_bias.audit import READABLE, AuditReport
from representation.analysis.invariance_transfer.transforms import CORRUPTION, GEOMETRIC, PHOTOMETRIC


@dataclass(frozen=True)
class Explanation:
    """What was found.

    Attributes:
        name: of the encoder.
        frames: how many were looked at.
        audit: of the encoder.
        pixels: of raw pixels.
        invariances: by transform, of the encoder and of raw pixels; empty where it takes no pictures.
        metric: of these.
        pictures: two draws (S, S, 3) of each transform.
        source: where the objects came from.
        warnings: sentences.
        least_share: of the variance, below which a factor is faint.
    """

    name: str
    frames: int
    audit: AuditReport
    pixels: AuditReport
    invariances: dict[str, tuple[float, float]]
    metric: str
    pictures: dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]]
    source: str
    warnings: tuple[str, ...]
    least_share: float = 0.05


_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #222; --quiet: #666; --line: #ccc; --track: #eee;
  --ours: #2463c9; --other: #9aa7b5; --warn: #a64b00; }
@media (prefers-color-scheme: dark) { :root { --paper: #181818; --ink: #ddd; --quiet: #aaa; --line: #444;
  --track: #2a2a2a; --ours: #5b96f5; --other: #6d7a88; --warn: #f0a35c; } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; padding: 1.5rem; max-width: 70rem;
  background: var(--paper); color: var(--ink); }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .2rem; }
p { margin: .2rem 0 .8rem; max-width: 50rem; } .quiet { color: var(--quiet); }
ul.warnings { padding: .6rem 1rem .6rem 2rem; border: 1px solid var(--warn); border-radius: .4rem; color: var(--warn); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, td.left { text-align: left; } thead th { color: var(--quiet); font-weight: 600; }
td.heat { background: color-mix(in oklab, var(--ours) calc(var(--rate) * 70%), var(--paper)); }
svg { display: block; width: 100%; height: auto; font-size: 13px; } svg text { fill: var(--ink); }
svg .quiet { fill: var(--quiet); } svg .track { fill: var(--track); } svg .ours { fill: var(--ours); }
svg .other { fill: var(--other); } svg line { stroke: var(--warn); stroke-dasharray: 4 3; }
img { height: 3rem; vertical-align: middle; image-rendering: pixelated; }
"""
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><link rel="icon" href="data:,"><style>{style}</style></head>
<body><h1>{title}</h1><p class="quiet">{frames} frames; raw pixels of 16 x 16 stand beside it.</p>
{warnings}
{sections}
</body></html>
"""
_WIDTH, _LABEL, _ROW = 1000, 190, 34
_CATEGORIES = {"geometric": GEOMETRIC, "photometric": PHOTOMETRIC, "corruption": CORRUPTION}


def write_page(path: Path, found: Explanation) -> None:
    """Write the page."""
    sentences = "".join(f"<li>{escape(sentence)}</li>" for sentence in found.warnings)
    warnings = f'<ul class="warnings">{sentences}</ul>' if sentences else "<p>Nothing to warn of.</p>"
    sections = [_factors(found), _components(found.audit), _invariances(found)]
    page = _PAGE.format(
        title=escape(f"What {found.name} keeps"),
        style=_STYLE,
        frames=found.frames,
        warnings=warnings,
        sections="\n".join(sections),
    )
    path.write_text(page, encoding="utf-8")


def _factors(found: Explanation) -> str:
    raw = {row.factor: row for row in found.pixels.rows}
    rows = found.audit.rows
    shares = bars([(row.factor, row.share, raw[row.factor].share) for row in rows], "Share of variance by factor")
    read = bars(
        [(row.factor, max(row.above_chance, 0.0), max(raw[row.factor].above_chance, 0.0)) for row in rows],
        "How well factors are read, from chance to everything",
        READABLE,
    )
    cells = "".join(
        f'<tr><td>{escape(row.factor)}</td><td class="left">{row.verdict(found.least_share)}</td>'
        f"<td>{row.decodability:.3f}</td><td>{row.chance:.3f}</td><td>{raw[row.factor].decodability:.3f}</td>"
        f"<td>{100 * row.share:.1f} %</td><td>{100 * row.unique:.1f} %</td><td>{100 * row.density:.0f} %</td>"
        f"<td>{row.component or '-'}</td></tr>"
        for row in rows
    )
    head = ("factor", "", "read", "chance", "raw pixels", "share", "unique", "units", "component")
    together = (
        f"All factors together explain {100 * found.audit.joint:.1f} % of the variance, of which "
        f"{100 * found.audit.shared:.1f} % belong to several; {100 * found.audit.residual:.1f} % belong to none."
    )
    return (
        "<h2>Factors</h2><p>A factor that is read by a linear model may still have little of the variance; what "
        "compares vectors by distance (neighbours, clusters, principal components) then hardly sees it. "
        f"{together}</p>"
        f"<p><b>Share of the variance</b> of the vectors that each factor explains</p>{shares}"
        f"<p><b>Read</b> on held-out frames, from chance (0) to everything (1)</p>{read}"
        f"{_table(head, cells)}"
    )


def _components(report: AuditReport) -> str:
    count = max(len(row.correlations) for row in report.rows)
    cells = "".join(
        f"<tr><td>{escape(row.factor)}</td>" + "".join(_heat(value) for value in row.correlations) + "</tr>"
        for row in report.rows
    )
    return (
        "<h2>Principal components</h2><p>Correlation of each factor with the first components of the vectors.</p>"
        f"{_table(('factor', *map(str, range(1, count + 1))), cells)}"
    )


def _invariances(found: Explanation) -> str:
    if not found.invariances:
        return "<h2>Invariances</h2><p>Only encoders of pictures are asked about transforms.</p>"
    parts = [
        f"<h2>Invariances</h2><p>How far two draws of a transform on the same object and background lie apart, as a "
        f"share of how far different pictures do ({escape(found.metric)}): 0 is not seen at all, 1 is as much as "
        "everything else. Compare with raw pixels: some transforms do nothing half of the time. "
        f"Of {escape(found.source)}.</p>"
    ]
    for category, names in _CATEGORIES.items():
        rows = [(name, *found.invariances[name]) for name in names]
        parts.append(f"<p><b>{category}</b></p>{bars(rows, f'Invariance to {category} transforms')}")
    cells = "".join(
        f"<tr><td>{name}</td>{_heat(ours)}{_heat(pixels)}"
        f'<td class="left">{"".join(_picture(one, name) for one in found.pictures[name])}</td></tr>'
        for name, (ours, pixels) in found.invariances.items()
    )
    parts.append(_table(("transform", "encoder", "raw pixels", "two draws"), cells))
    return "".join(parts)


def bars(rows: Sequence[tuple[str, float, float]], title: str, mark: float | None = None) -> str:
    """Two horizontal bars for each row, of the encoder and of raw pixels, as inline SVG.

    Args:
        rows: label and both values, not negative; NaN has no bar.
        title: for who cannot see it.
        mark: where a line is drawn.
    """
    largest = max([value for _, *values in rows for value in values if math.isfinite(value)] + [mark or 0.0, 1e-9])
    end = 1.0 if 0.4 < largest <= 1 else 1.05 * largest
    scale, parts = _WIDTH - _LABEL - 80, []
    for number, (label, ours, other) in enumerate(rows):
        top = number * _ROW + 4
        parts.append(f'<text x="{_LABEL - 10}" y="{top + 18}" text-anchor="end">{escape(label)}</text>')
        parts.append(f'<rect class="track" x="{_LABEL}" y="{top}" width="{scale}" height="{_ROW - 8}"/>')
        for kind, value, y, height in (("ours", ours, top, 15), ("other", other, top + 16, 10)):
            if math.isfinite(value):
                long = scale * max(value, 0.0) / end
                parts.append(f'<rect class="{kind}" x="{_LABEL}" y="{y}" width="{long:.1f}" height="{height}"/>')
        parts.append(f'<text x="{_WIDTH - 70}" y="{top + 13}">{ours:.3f}</text>')
        parts.append(f'<text class="quiet" x="{_WIDTH - 70}" y="{top + 26}" font-size="11">{other:.3f}</text>')
    bottom = len(rows) * _ROW
    if mark is not None:
        x = _LABEL + scale * mark / end
        parts.append(f'<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{bottom}"/>')
    return f'<svg viewBox="0 0 {_WIDTH} {bottom}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'


def _table(head: Sequence[str], cells: str) -> str:
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f'<div class="scroll"><table><thead><tr>{names}</tr></thead><tbody>{cells}</tbody></table></div>'


def _heat(value: float) -> str:
    if not math.isfinite(value):
        return "<td>-</td>"
    return f'<td class="heat" style="--rate: {min(max(value, 0.0), 1.0):.3f}">{value:.2f}</td>'


def _picture(image: NDArray[np.uint8], name: str) -> str:
    _, content = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    source = base64.b64encode(content.tobytes()).decode()
    return f'<img alt="{escape(name)}" src="data:image/png;base64,{source}"> '
