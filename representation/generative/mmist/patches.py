"""Random patches under random perspective, differentiable in the picture: what CLIP sees of a style."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

DISTORTION = 0.5


def random_patches(
    image: Tensor, n: int, crop: int, side: int, generator: torch.Generator, distortion: float = DISTORTION
) -> Tensor:
    """Patches (n, 3, side, side) of a picture (1, 3, H, W).

    Each is a random square of `crop` pixels whose four corners are moved inwards, each by up to `distortion` of half
    its side; what is not covered is black.

    Raises:
        ValueError: the picture is smaller than a patch.
    """
    height, width = image.shape[-2:]
    if image.ndim != 4 or len(image) != 1 or crop > min(height, width):
        raise ValueError(f"image: expected (1, 3, H, W) of at least {crop} pixels, found {tuple(image.shape)}")
    return random_perspective(image.expand(n, -1, -1, -1), crop, side, generator, distortion)


def random_perspective(
    images: Tensor, crop: int, side: int, generator: torch.Generator, distortion: float = DISTORTION
) -> Tensor:
    """One patch (3, side, side) of each picture (B, 3, H, W); see `random_patches`."""
    count, _, height, width = images.shape
    size = torch.tensor([width, height])
    place = torch.rand(count, 2, generator=generator)
    corner = (place * (size - crop + 1)).floor().minimum((size - crop).float())
    middle = (2 * (corner + crop / 2) / size - 1).to(images)
    half = (crop / size).to(images)
    corners = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]], dtype=torch.float64)
    moved = corners * (1 - distortion * torch.rand(count, 4, 2, generator=generator, dtype=torch.float64))
    maps = homographies(moved, corners.expand(count, 4, 2)).to(images)
    axis = (torch.arange(side, device=images.device, dtype=images.dtype) * 2 + 1) / side - 1
    x, y = axis.expand(side, side), axis[:, None].expand(side, side)
    points = torch.stack([x, y, torch.ones_like(x)], dim=-1).flatten(0, 1)
    mapped = points @ maps.mT
    inside = mapped[..., :2] / mapped[..., 2:].clamp(min=1e-6)
    covered = (inside.abs() <= 1).all(dim=-1) & (mapped[..., 2] > 1e-6)
    grid = (middle[:, None] + half * inside).unflatten(1, (side, side))
    found = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return found * covered.unflatten(1, (side, side))[:, None]


def homographies(start: Tensor, end: Tensor) -> Tensor:
    """Matrices (B, 3, 3) whose last entry is 1 that bring four points (B, 4, 2) to four others."""
    x, y = start.unbind(dim=-1)
    u, v = end.unbind(dim=-1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    rows = torch.cat(
        [
            torch.stack([x, y, one, zero, zero, zero, -u * x, -u * y], dim=-1),
            torch.stack([zero, zero, zero, x, y, one, -v * x, -v * y], dim=-1),
        ],
        dim=1,
    )
    found = torch.linalg.solve(rows, torch.cat([u, v], dim=1))
    return torch.cat([found, torch.ones_like(found[:, :1])], dim=1).unflatten(1, (3, 3))
