"""What other sensors saw, as pictures that can be cut into tokens like those of the colour camera."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from representation.data.depth import CODES_PER_METRE
from representation.data.frames import DEPTH, SEGMENTATION, Frames

IMAGE = "image"
"""Name of the reference, the colour camera."""

MEASURED_FRAMES = 500
GOLDEN = 0.618034


def sensors_of(frames: Frames, wanted: Sequence[str]) -> tuple[str, ...]:
    """Those of some sensors that frames have a column of.

    Raises:
        ValueError: none.
    """
    found = tuple(name for name in wanted if name in frames.columns)
    if not found:
        raise ValueError(f"frames: expected a column of {list(wanted)}, found {sorted(frames.columns)}")
    return found


def depth_range(frames: Frames) -> tuple[float, float]:
    """Depths in metres, nearer and farther than which a hundredth of the pixels are.

    Raises:
        ValueError: no depth is known.
    """
    codes = frames.columns[DEPTH][:: max(1, len(frames) // MEASURED_FRAMES)]
    known = codes[codes > 0]
    if not known.size:
        raise ValueError(f"{DEPTH}: expected known depths, found none")
    near, far = np.percentile(known, (1, 99)) / CODES_PER_METRE
    return float(near), float(max(far, near + 1 / CODES_PER_METRE))


def palette(count: int) -> Tensor:
    """Colours (count, 3) in [0, 1] for kinds of pixels: black for the first, hues far from each other for the rest."""
    rest = [colorsys.hsv_to_rgb(GOLDEN * number % 1, 1.0, 1.0) for number in range(count - 1)]
    return torch.tensor([(0.0, 0.0, 0.0), *rest], dtype=torch.float32)


def sensor_pictures(
    frames: Frames, rows: NDArray[np.int64], sensor: str, near_far: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Pictures of a sensor for some frames, and which of these have it.

    Near things are white in a picture of depth, far and unknown ones black; kinds of pixels have colours of `palette`.
    Any other column must hold pictures (N, H, W, 3) uint8.

    Args:
        frames: with the column; a sample lacks it where the column `SENSOR_available` says 0, or where no pixel's depth
            is known.
        rows: of the frames.
        sensor: `IMAGE` or a column.
        near_far: depths in metres of white and black.

    Returns:
        Pictures (B, 3, H, W) in [0, 1], black where the sensor is not there, and (B,) whether it is.

    Raises:
        ValueError: no such column, or one of another form.
    """
    if sensor == IMAGE:
        return frames.pixels(rows), torch.ones(len(rows), dtype=torch.bool)
    frames.need((sensor,))
    values = np.ascontiguousarray(frames.columns[sensor][rows])
    there = np.ones(len(rows), bool)
    if f"{sensor}_available" in frames.columns:
        there = frames.columns[f"{sensor}_available"][rows].astype(bool)
    if sensor == DEPTH:
        if values.ndim != 3 or values.dtype != np.uint16:
            raise ValueError(f"{DEPTH}: expected codes (N, H, W) uint16, found {values.shape} {values.dtype}")
        there = there & (values > 0).any(axis=(1, 2))
        near, far = near_far
        nearness = (far - values.astype(np.float32) / CODES_PER_METRE) / (far - near)
        grey = np.where(values > 0, nearness.clip(0, 1), 0).astype(np.float32)
        pictures = torch.from_numpy(grey)[:, None].expand(-1, 3, -1, -1)
    elif sensor == SEGMENTATION:
        kinds = len(frames.names.get(SEGMENTATION, ()))
        if values.ndim != 3 or int(values.max(initial=0)) >= kinds:
            raise ValueError(f"{SEGMENTATION}: expected numbers (N, H, W) of {kinds} names, found {values.shape}")
        pictures = palette(kinds)[torch.from_numpy(values.astype(np.int64))].movedim(-1, 1)
    elif values.ndim == 4 and values.shape[3] == 3 and values.dtype == np.uint8:
        pictures = torch.from_numpy(values).movedim(-1, 1).float() / 255
    else:
        raise ValueError(f"{sensor}: expected pictures (N, H, W, 3) uint8, found {values.shape} {values.dtype}")
    present = torch.from_numpy(there)
    return pictures * present[:, None, None, None], present
