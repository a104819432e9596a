"""Three depth pictures of a cloud, and what maps of them show at points (paper, section 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from representation.pretraining.i2p_mae.tokens import gather

VIEWS = ((0, 1, 2), (2, 0, 1), (1, 2, 0))
"""Axes that are row, column and depth of each of the three pictures."""
REACH = 2  # pixels around its own that a point is drawn on
CUBIC = -0.75  # of the bicubic kernel, as torch has it


class Geometry(NamedTuple):
    """How the three pictures of a cloud were taken: pixel = floor((uv - low) / cell) + shift.

    Attributes:
        low: (B, 3, 2).
        cell: (B, 3, 1).
        shift: (B, 3, 2).
        size: side of the pictures, pixels.
    """

    low: Tensor
    cell: Tensor
    shift: Tensor
    size: int


def pixels(points: Tensor, geometry: Geometry) -> Tensor:
    """Row and column (B, 3, M, 2) of points (B, M, 3) in each picture."""
    uv = torch.stack([points[..., view[:2]] for view in VIEWS], dim=1)
    return (((uv - geometry.low[:, :, None]) / geometry.cell[:, :, None]).floor() + geometry.shift[:, :, None]).long()


def project_views(points: Tensor, size: int, reduction: str = "sum") -> tuple[Tensor, Geometry]:
    """Draw clouds (B, N, 3) as depth pictures (B, 3, size, size) in (0, 1), centred; nothing is 0.5."""
    uv = torch.stack([points[..., view[:2]] for view in VIEWS], dim=1)
    low, high = uv.amin(dim=2), uv.amax(dim=2)
    cell = (high - low).amax(dim=2, keepdim=True).clamp(min=1e-9) / (size - 3)
    last = ((high - low) / cell).floor()  # pixel of the farthest point, counted from the nearest
    # One pixel of margin, then the middle of what is drawn, margins included, goes to the middle of the picture.
    shift = 1 + size // 2 - ((last + 2) / 2).floor() - 1
    geometry = Geometry(low, cell, shift, size)
    around = torch.arange(-REACH, REACH + 1, device=points.device)
    drawn = pixels(points, geometry)[:, :, :, None] + torch.cartesian_prod(around, around)
    drawn = drawn.clamp(0, size - 1)
    place = (drawn[..., 0] * size + drawn[..., 1]).flatten(2)
    depth = torch.stack([points[..., view[2]] for view in VIEWS], dim=1)[..., None].expand(drawn.shape[:-1]).flatten(2)
    canvas = points.new_zeros(*place.shape[:2], size * size)
    name = {"sum": "sum", "max": "amax", "mean": "mean"}[reduction]
    return canvas.scatter_reduce(2, place, depth, name, include_self=False).unflatten(
        2, (size, size)
    ).sigmoid(), geometry


def backproject(points: Tensor, maps: Tensor, geometry: Geometry) -> Tensor:
    """What the three maps (B, 3, C, h, w) of a cloud show at points (B, M, 3): (B, 3, M, C).

    As if the maps were enlarged to the pictures' size by bicubic interpolation, but at the points' pixels alone.
    """
    height, width = maps.shape[3:]
    found, flat = pixels(points, geometry), maps.flatten(3).transpose(2, 3).flatten(0, 1)  # (3B, hw, C)
    rows = _cubic_taps(found[..., 0].flatten(0, 1), height, geometry.size)
    columns = _cubic_taps(found[..., 1].flatten(0, 1), width, geometry.size)
    total = sum(
        (row_weight * column_weight)[..., None] * gather(flat, row * width + column)
        for row, row_weight in rows
        for column, column_weight in columns
    )
    return total.unflatten(0, maps.shape[:2])


def _cubic_taps(pixel: Tensor, cells: int, size: int) -> list[tuple[Tensor, Tensor]]:
    """Four cells, and their weights, that make a pixel of a row of `cells` that is enlarged to `size`."""
    source = (pixel + 0.5) * (cells / size) - 0.5
    first = source.floor()
    taps = []
    for tap in range(-1, 3):
        d = (source - first - tap).abs()
        near = ((CUBIC + 2) * d - (CUBIC + 3)) * d * d + 1
        far = ((CUBIC * d - 5 * CUBIC) * d + 8 * CUBIC) * d - 4 * CUBIC
        taps.append(((first + tap).long().clamp(0, cells - 1), torch.where(d <= 1, near, far)))
    return taps
