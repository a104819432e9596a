"""Drawings of what was seen or done.

`python -m representation.memory.grounded_language.drawings --data DIR --output DIR` turns frames into line drawings;
what else is known of them stays. `rasterize_trajectory` draws the paths of points, as `python -m sim.arm_actions` does
with those of an arm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import tyro
from numpy.typing import NDArray

from representation.data.frames import Frames, expect_empty, open_frames, write_frames

LOWER, UPPER = 60, 120  # of Canny's gradients
MARGIN = 0.08  # of the side
DIMMEST = 0.35
_FINE, _SHIFT = 16, 4  # OpenCV draws in 1 / 2^4 of a pixel


@dataclass(frozen=True)
class DrawingOptions:
    """What is drawn.

    Attributes:
        data: directory of the frames.
        output: directory to write; must not hold files.
        image_size: side that pictures are brought to first, pixels; 0 keeps them.
    """

    data: Path
    output: Path
    image_size: int = 0


def line_drawing(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """White lines on black, (H, W, 3), where a picture (H, W, 3) has edges (Canny)."""
    edges = cv2.Canny(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), LOWER, UPPER)
    return np.repeat(edges[:, :, None], 3, axis=2)


def rasterize_trajectory(traj: NDArray, size: int) -> NDArray[np.float32]:
    """Draw the paths of points, brighter as time goes on.

    Args:
        traj: (T, J, 2) places of J points, x to the right and y down, in any unit; they are made to fill the picture.
        size: side S of the picture, pixels.

    Returns:
        (S, S) in [0, 1].

    Raises:
        ValueError: another shape, or numbers that are not finite.
    """
    places = np.asarray(traj, np.float64)
    if places.ndim != 3 or places.shape[2] != 2 or len(places) < 2 or not np.isfinite(places).all():
        raise ValueError(f"traj: expected finite (T, J, 2) with T of at least 2, found {places.shape}")
    low, high = places.min(axis=(0, 1)), places.max(axis=(0, 1))
    scale = (1 - 2 * MARGIN) * (size - 1) / max(float((high - low).max()), 1e-9)
    points = np.round(_FINE * ((places - (low + high) / 2) * scale + (size - 1) / 2)).astype(int)
    canvas = np.zeros((size, size), np.uint8)
    for number, (before, after) in enumerate(pairwise(points)):
        light = DIMMEST + (1 - DIMMEST) * (number + 1) / (len(points) - 1)
        for start, end in zip(before.tolist(), after.tolist(), strict=True):
            cv2.line(canvas, tuple(start), tuple(end), round(255 * light), 1, cv2.LINE_AA, _SHIFT)
    return (canvas / 255).astype(np.float32)


def main(args: Sequence[str] | None = None) -> None:
    """Draw and write."""
    options = tyro.cli(DrawingOptions, args=args, description=__doc__)
    expect_empty(options.output)
    frames = open_frames(options.data, size=options.image_size)
    images = np.stack([line_drawing(image) for image in frames.images])
    write_frames(Frames(images, frames.episode, frames.columns, frames.names, frames.texts), options.output)
    print(f"{options.output}: {len(images)} line drawings")


if __name__ == "__main__":
    main()
