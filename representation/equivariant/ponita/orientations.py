"""Grids of orientations: unit vectors that are spread over the circle or the sphere."""

from __future__ import annotations

import math
from itertools import product
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

Kind = Literal["circle", "icosahedron", "fibonacci", "repulsion"]
REPULSION_STEPS, REPULSION_RATE = 400, 0.02


def orientation_grid(
    dim: int, count: int, kind: Kind | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Unit vectors (O, n) float64.

    Args:
        dim: n, 2 or 3.
        count: O.
        kind: in the plane "circle". In space "icosahedron" (12 vertices, on which its 60 rotations are exact),
            "fibonacci" (a spiral, even for any number), or "repulsion" (random, then pushed apart). If None: the
            circle, the icosahedron for 12 in space, a spiral for other numbers.
        generator: of "repulsion".

    Raises:
        ValueError: no such grid.
    """
    if count < 1 or dim not in (2, 3):
        raise ValueError(f"dim, count: expected 2 or 3 and at least 1, found {dim} and {count}")
    if kind is None:
        kind = "circle" if dim == 2 else "icosahedron" if count == 12 else "fibonacci"
    if (kind == "circle") != (dim == 2) or (kind == "icosahedron" and count != 12):
        raise ValueError(f"kind: expected one for {count} orientations in {dim} dimensions, found {kind!r}")
    if kind == "circle":
        angle = 2 * math.pi * torch.arange(count, dtype=torch.float64) / count
        return torch.stack([angle.cos(), angle.sin()], dim=1)
    if kind == "icosahedron":
        golden = (1 + math.sqrt(5)) / 2
        corners = [(0.0, a, b * golden) for a, b in product((-1.0, 1.0), repeat=2)]
        vertices = [corner[turn:] + corner[:turn] for turn in range(3) for corner in corners]
        return F.normalize(torch.tensor(vertices, dtype=torch.float64), dim=1)
    if kind == "fibonacci":
        number = torch.arange(count, dtype=torch.float64)
        height = 1 - (2 * number + 1) / count
        around = math.pi * (3 - math.sqrt(5)) * number
        reach = (1 - height.square()).sqrt()
        return torch.stack([reach * around.cos(), reach * around.sin(), height], dim=1)
    return _repelled(count, generator)


def _repelled(count: int, generator: torch.Generator | None) -> Tensor:
    """Random unit vectors (O, 3), each pushed away from the others by the inverse square of their distance."""
    points = F.normalize(torch.randn(count, 3, dtype=torch.float64, generator=generator), dim=1)
    for step in range(REPULSION_STEPS):
        apart = points[:, None] - points[None, :]
        push = (apart / apart.norm(dim=2, keepdim=True).clamp(min=1e-3).pow(4)).sum(dim=1)
        push = push - (push * points).sum(dim=1, keepdim=True) * points
        rate = REPULSION_RATE * (1 - step / REPULSION_STEPS)
        points = F.normalize(points + rate * push / push.norm(dim=1, keepdim=True).clamp(min=1e-9), dim=1)
    return points
