"""The explanation of a policy as one HTML page that needs no other file; its plots are SVG inside it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from policies.explanation import TOLERANCES, HeadFindings, LayerFindings

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 70rem; background: #fff; color: #222; }}
table {{ border-collapse: collapse; margin: .8rem 0; }}
th, td {{ border-bottom: 1px solid #ccc; padding: .25rem .8rem; text-align: right; }}
th:first-child, td:first-child {{ text-align: left; }}
.scroll {{ overflow-x: auto; }}
svg {{ max-width: 100%; height: auto; }}
small {{ color: #555; }}
</style></head>
<body><h1>{title}</h1>
{body}
</body></html>
"""


def write_page(path: Path, title: str, summary: Mapping[str, Any], findings: Sequence[HeadFindings]) -> None:
    """Write the page.

    Args:
        path: of the file.
        title: of the page.
        summary: content of `explain.json`.
        findings: of each head.
    """
    before, after = summary["head_numbers"]
    difference = summary["difference"]
    absolute = ", ".join(f"{value:.2g}" for value in difference["mean_absolute"])
    head = (
        f"<p>{summary['episodes'][0]} recorded episodes, {summary['episodes'][1]} of them held out; a replacement may "
        f"lose {summary['tolerance']:.2%} on held-out features. The head's {before:,} numbers become {after:,} "
        f"({before / after:.2f} times fewer; the whole network has {summary['network_numbers']:,}). On held-out "
        f"observations the replaced policy's answers differ by {difference['share_of_variance']:.3%} of their "
        f"variance; mean absolute difference of a row's numbers (m, rad): {absolute}.</p>"
    )
    path.write_text(
        _PAGE.format(title=escape(title), body="\n".join([head, *map(_section, findings)])), encoding="utf-8"
    )


def _section(found: HeadFindings) -> str:
    layers = found.layers
    parts = [
        f"<h2>{escape(found.head.name)}</h2>",
        f"<p>{found.rows[0]:,} features to learn from and {found.rows[1]:,} held out; gives "
        f"{escape(', '.join(found.head.axes))}.</p>",
        '<div class="scroll"><table><tr><th>layer before</th><th>size</th><th>vary</th><th>drive the output</th>'
        + "".join(f"<th>lose {one:g}: basis</th><th>PCA</th>" for one in TOLERANCES)
        + "<th>kept</th><th>numbers</th><th>then</th><th>parameters that can matter</th></tr>",
        *map(_row, layers),
        "</table></div>",
        "<p><small>Directions that are needed, and any more, on held-out features. A map whose replacement would not "
        "be smaller stays whole.</small></p>",
        _curves(found),
        _spectra(found),
    ]
    if found.drives is not None:
        parts.append(_heat(found.drives, found.head.axes))
    effective = ", ".join(f"{int((found.hessian > one).sum())} above {one:g}" for one in (1e-2, 1e-4, 1e-6))
    parts.append(
        f"<p>Effective parameters: of {found.parameters:,}, eigenvalues of the behavioural loss's Hessian, by its "
        f"largest: {effective} (on features that can tell of at most {len(found.hessian):,}).</p>"
    )
    if found.synchronized is None:
        parts.append("<p>One linear map: there are no units that could open together.</p>")
    else:
        groups = found.synchronized.groups
        told = "; ".join(", ".join(map(str, group)) for group in groups[:12]) or "none"
        parts.append(
            f"<p>Units of the hidden layer that open together, on every feature: {len(groups)} groups ({told}"
            f"), {found.synchronized.free_parameters} parameters free, were they ReLUs.</p>"
        )
    if found.modules is not None:
        parts.append(f"<p>Modules among its directions: {found.modules[1]}, modularity {found.modules[0]:.2f}.</p>")
    return "\n".join(parts)


def _row(layer: LayerFindings) -> str:
    pairs = zip(layer.needed["interaction basis"], layer.needed["principal components"], strict=True)
    needed = "".join(f"<td>{_count(basis)}</td><td>{_count(other)}</td>" for basis, other in pairs)
    kept = "all" if layer.kept is None else str(layer.kept)
    return (
        f"<tr><td>{escape(layer.weights)}</td><td>{layer.size}</td><td>{layer.basis.rank_act}</td>"
        f"<td>{layer.basis.rank_grad}</td>{needed}<td>{kept}</td><td>{layer.numbers[0]:,}</td>"
        f"<td>{layer.numbers[1]:,}</td><td>{layer.effective:,}</td></tr>"
    )


def _count(value: int | None) -> str:
    return "more" if value is None else str(value)


def _curves(found: HeadFindings) -> str:
    measure = "share of the same choices" if found.head.chooses else "variance of actions kept"
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    for axes, layer in zip(np.ravel(figure.subplots(1, len(found.layers))), found.layers, strict=True):
        for name, curve in layer.curves.items():
            axes.plot(np.clip(curve.numpy(), 0, 1), label=name)
        axes.set(xlabel=f"directions of {layer.size} before {layer.weights}", ylabel=measure, ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        axes.legend()
    return _svg(figure)


def _spectra(found: HeadFindings) -> str:
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    first, second = figure.subplots(1, 2)
    for layer in found.layers:
        first.semilogy(layer.basis.importance[int(layer.basis.constant) :].numpy(), label=layer.weights)
    first.set(xlabel="direction", ylabel="importance")
    first.legend()
    values = found.hessian.clamp(min=1e-16).numpy()
    second.semilogy(values)
    second.set(xlabel="direction of the parameters", ylabel="eigenvalue by the largest", ylim=(1e-12, 2))
    for axes in (first, second):
        axes.grid(alpha=0.3)
    return _svg(figure)


def _heat(drives: Tensor, names: Sequence[str]) -> str:
    shown = drives[:, :40]
    shares = (shown / drives.sum(dim=1, keepdim=True).clamp(min=1e-30)).numpy()
    figure = Figure(figsize=(10, 0.28 * len(names) + 1.4), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, aspect="auto", cmap="viridis")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="direction of the first layer", title="what each direction adds to each number of the action")
    figure.colorbar(image)
    return _svg(figure)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    return text[text.index("<svg") :]
