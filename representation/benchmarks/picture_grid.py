"""Rows of pictures as one PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

MARGIN, LABEL, FONT, SIZE = 4, 16, cv2.FONT_HERSHEY_SIMPLEX, 0.4


def write_grid(rows: Mapping[str, Tensor], file: Path, side: int = 64) -> None:
    """Draw each row's name and, below it, its pictures side by side.

    Args:
        rows: pictures (N, 1 or 3, H, W) in [0, 1] by what they are.
        file: PNG that is written.
        side: pixels of a drawn picture.

    Raises:
        ValueError: no rows, or pictures of another shape.
    """
    if not rows:
        raise ValueError("rows: expected at least one, found none")
    for name, pictures in rows.items():
        if pictures.ndim != 4 or pictures.shape[1] not in (1, 3):
            raise ValueError(f"rows {name!r}: expected (N, 1 or 3, H, W), found {tuple(pictures.shape)}")
    step = side + MARGIN
    width = MARGIN + step * max(len(pictures) for pictures in rows.values())
    sheet = np.full((len(rows) * (LABEL + step) + MARGIN, width, 3), 255, np.uint8)
    for number, (name, pictures) in enumerate(rows.items()):
        top = MARGIN + number * (LABEL + step)
        cv2.putText(sheet, name, (MARGIN, top + LABEL - 5), FONT, SIZE, (0, 0, 0), 1, cv2.LINE_AA)
        drawn = pictures.detach().clamp(0, 1).expand(-1, 3, -1, -1).mul(255).round().byte()
        for place, picture in enumerate(drawn.permute(0, 2, 3, 1).cpu().numpy()):
            left, start = MARGIN + place * step, top + LABEL
            shown = cv2.resize(picture, (side, side), interpolation=cv2.INTER_NEAREST)
            sheet[start : start + side, left : left + side] = shown[..., ::-1]
    file.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(file), sheet):
        raise OSError(f"{file}: expected to be writable, found it is not")
