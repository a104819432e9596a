"""Hits of a search as one HTML page that needs no other file: a grid of pictures, each with where it comes from."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from representation.memory.pictures import Pictures
from representation.memory.search import Hit

LONGEST_SIDE = 256  # pixels
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 1.5rem; background: #fff; color: #222; }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem; }}
figure {{ margin: 0; padding: .6rem; border: 1px solid #ccc; border-radius: .4rem; }}
img, .none {{ width: 100%; aspect-ratio: 4 / 3; object-fit: contain; background: #eee; display: block; }}
figcaption {{ margin-top: .4rem; overflow-wrap: anywhere; }}
small {{ color: #555; }}
pre {{ white-space: pre-wrap; font-size: 12px; max-height: 9rem; overflow: auto; }}
@media (prefers-color-scheme: dark) {{
  body {{ background: #181818; color: #ddd; }} small {{ color: #aaa; }} img, .none {{ background: #333; }}
}}
</style></head>
<body><h1>{title}</h1><p>{count} hits, the nearest first.</p><main>
{figures}
</main></body></html>
"""


def write_hits_page(path: Path, title: str, hits: Sequence[Hit]) -> None:
    """Write the page.

    Args:
        path: file to write.
        title: what was looked for.
        hits: in the order in which they are shown.
    """
    pictures = Pictures()
    figures = [_figure(number, hit, pictures) for number, hit in enumerate(hits, start=1)]
    page = _PAGE.format(title=escape(title), count=len(hits), figures="\n".join(figures))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _figure(number: int, hit: Hit, pictures: Pictures) -> str:
    row = hit.row
    what = f"{row.length} frames" if row.length > 1 else f"frame {row.frame}, {row.time:.2f} s"
    camera = f", camera {row.camera}" if row.camera else ""
    alt = f"hit {number}: {row.task or 'no task'}"
    try:
        image = f'<img alt="{escape(alt)}" src="data:image/jpeg;base64,{_jpeg(pictures.of(row))}">'
    except ValueError as error:
        image = f'<div class="none">{escape(str(error))}</div>'
    state = f"<details><summary>state</summary><pre>{escape(row.state)}</pre></details>" if row.state else ""
    place = f"{escape(row.source)}, episode {row.episode}, {what}{escape(camera)}"
    caption = f"<b>{number}. {hit.similarity:.3f}</b> {escape(row.task)}<br><small>{place}</small>{state}"
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _jpeg(image: NDArray[np.uint8]) -> str:
    scale = min(1.0, LONGEST_SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    _, content = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    return base64.b64encode(content.tobytes()).decode()
