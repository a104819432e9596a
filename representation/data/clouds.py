"""Point clouds that `Frames` carry, brought to one scale and thinned out evenly.

Frames carry clouds in the column `points`, (N, P, 3) float32, metres in the optical frame of the camera (x right, y
down, z forward). Renders and LeRobot datasets get it from their depth; arrays of shapes by `frames_of_clouds`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from representation.data.frames import POINTS, Frames

PICTURE_SIZE = 32  # pixels, of the pictures that clouds without pictures get


def clouds(frames: Frames, rows: NDArray[np.int64]) -> Tensor:
    """Clouds (B, P, 3), metres, of some rows.

    Raises:
        ValueError: the frames carry none.
    """
    frames.need((POINTS,))
    points = frames.columns[POINTS]
    if points.ndim != 3 or points.shape[2] != 3:
        raise ValueError(f"{POINTS}: expected (N, P, 3), found {points.shape}")
    return torch.from_numpy(np.ascontiguousarray(points[rows], dtype=np.float32))


def frames_of_clouds(
    points: NDArray[np.float32], columns: Mapping[str, NDArray], names: Mapping[str, tuple[str, ...]]
) -> Frames:
    """Frames of clouds that have no pictures, such as arrays of shapes; each is drawn as seen along its last axis.

    Args:
        points: (N, P, 3) of any unit.
        columns: what else is known, as in `Frames`.
        names: likewise.
    """
    images = np.zeros((len(points), PICTURE_SIZE, PICTURE_SIZE, 3), np.uint8)
    low, high = points.min(axis=1), points.max(axis=1)
    side = np.maximum((high - low)[:, :2].max(axis=1), 1e-9)
    place = (points[..., :2] - (high + low)[:, None, :2] / 2) / side[:, None, None] + 0.5
    pixel = (place * (PICTURE_SIZE - 1)).round().astype(int)
    height = 55 + 200 * (points[..., 2] - low[:, None, 2]) / np.maximum(high - low, 1e-9)[:, None, 2]
    order = np.argsort(height, axis=1)  # the highest point of a pixel is drawn last
    cloud = np.arange(len(points))[:, None]
    shade = np.take_along_axis(height, order, axis=1).astype(np.uint8)
    column, row = (np.take_along_axis(pixel[..., axis], order, axis=1) for axis in (0, 1))
    images[cloud, row, column] = shade[..., None]
    return Frames(images, np.arange(len(points)), {**columns, POINTS: points.astype(np.float32)}, names)


def unit_sphere(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Clouds (B, N, 3) moved to their mean and scaled into the unit sphere, with centres (B, 1, 3) and radii (B, 1, 1).

    Raises:
        ValueError: a point is not finite.
    """
    if not torch.isfinite(points).all():
        raise ValueError("points: expected finite numbers, found others")
    center = points.mean(dim=1, keepdim=True)
    radius = (points - center).norm(dim=2).amax(dim=1).clamp(min=1e-9)[:, None, None]
    return (points - center) / radius, center, radius


def farthest_point_sample(points: Tensor, count: int) -> Tensor:
    """Indices (B, count) of points (B, N, 3), each the farthest from those before it; the first one is 0."""
    batch, number = points.shape[:2]
    if count > number:
        raise ValueError(f"points: expected at least {count}, found {number}")
    chosen = torch.zeros(batch, count, dtype=torch.long, device=points.device)
    distance = torch.full((batch, number), torch.inf, dtype=points.dtype, device=points.device)
    every = torch.arange(batch, device=points.device)
    for step in range(1, count):
        newest = points[every, chosen[:, step - 1]]
        distance = torch.minimum(distance, (points - newest[:, None]).square().sum(dim=2))
        chosen[:, step] = distance.argmax(dim=1)
    return chosen
