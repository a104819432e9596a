"""Do two pictures have their edges at the same places? And do frames flicker?"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

LOWER, UPPER, CONTRAST, TOLERANCE = 60, 140, 48.0, 1
"""Of Canny's gradients; standard deviation to which grey pictures are brought; pixels by which edges may differ."""


def edges_of(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Edges (H, W) of a picture (H, W, 3) by Canny, after a blur, at a contrast that is alike in all pictures."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (3, 3), 0.8)
    spread = float(grey.std())
    level = (grey - grey.mean()) * (CONTRAST / spread if spread > 1e-3 else 0.0) + 128
    return cv2.Canny(np.rint(level).clip(0, 255).astype(np.uint8), LOWER, UPPER) > 0


def edge_f1(content: NDArray[np.uint8], restyled: NDArray[np.uint8], tolerance: int = TOLERANCE) -> float:
    """Harmonic mean of how many edges of each picture (H, W, 3) are also in the other, a pixel beside counts.

    1 where neither has edges, 0 where only one has.
    """
    if content.shape != restyled.shape:
        raise ValueError(f"pictures: expected one size, found {content.shape} and {restyled.shape}")
    first, second = edges_of(content), edges_of(restyled)
    if not first.any() or not second.any():
        return float(not first.any() and not second.any())
    kernel = np.ones((2 * tolerance + 1,) * 2, np.uint8)
    wide = [cv2.dilate(edges.astype(np.uint8), kernel) > 0 for edges in (first, second)]
    kept, own = float(wide[1][first].mean()), float(wide[0][second].mean())
    return 2 * kept * own / (kept + own) if kept + own else 0.0


def mean_edge_f1(contents: NDArray[np.uint8], restyled: NDArray[np.uint8]) -> float:
    """Mean over pictures (N, H, W, 3)."""
    return float(np.mean([edge_f1(one, other) for one, other in zip(contents, restyled, strict=True)]))


def flicker(contents: NDArray[np.uint8], restyled: NDArray[np.uint8]) -> float:
    """How much more restyled frames (N, H, W, 3) change than theirs did: mean change from frame to frame, by pixel.

    Only pixels count whose content stays (within 2 levels of 255); 0 for a single frame, or if all moves.
    """
    if len(contents) < 2:
        return 0.0
    stays = (np.abs(np.diff(contents.astype(np.int16), axis=0)) <= 2).all(axis=-1)
    moved = np.abs(np.diff(restyled.astype(np.int16), axis=0)).mean(axis=-1)
    return float(moved[stays].mean() / 255) if stays.any() else 0.0
