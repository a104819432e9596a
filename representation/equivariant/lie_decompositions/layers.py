"""`LiftingConv2d` and `GroupConv2d`: convolutions whose kernels are functions on the group of affine maps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.equivariant.lie_decompositions.affine_group import AffineGroup, MapPair
from representation.equivariant.lie_decompositions.kernels import SirenKernel, pixel_grid

SOFTNESS = 2.0


class LiftingConv2d(nn.Module):
    """Pictures to functions of places and maps.

    Args:
        group: of the maps.
        c_in: channels in.
        c_out: channels out.
        kernel_size: side, pixels.
        kernel: further arguments of `SirenKernel`.
    """

    def __init__(self, group: AffineGroup, c_in: int, c_out: int, kernel_size: int, **kernel: Any) -> None:
        super().__init__()
        self.group, self.kernel_size = group, kernel_size
        self.kernel = SirenKernel(2, c_in, c_out, kernel_size, **kernel)

    def weights(self, maps: MapPair) -> Tensor:
        """Kernels (C', G, C, k, k) of maps: at a place, that of the place seen from the map, by the area it covers."""
        places = seen_from(maps, self.kernel_size)
        values = self.kernel(places.to(self.kernel.last.weight.dtype)) * mask_of(self.group, places)[..., None, None]
        values = values / _determinants(self.group, maps.g).to(values)[:, None, None, None, None]
        return values.permute(3, 0, 4, 1, 2)

    def forward(self, images: Tensor, maps: MapPair, padding: int = 0) -> Tensor:
        """(B, C', G, H', W') of pictures (B, C, H, W)."""
        weights = self.weights(maps)
        return F.conv2d(images, weights.flatten(0, 1), padding=padding).unflatten(1, weights.shape[:2])


class GroupConv2d(nn.Module):
    """Functions of places and maps to such functions, of the same maps or others.

    The sum over maps is a mean over those that were drawn, by the invariant measure of the places that belong to them.
    How maps are drawn is not made up for, as published: it is a choice of which maps count.

    Args:
        group: of the maps.
        c_in: channels in.
        c_out: channels out.
        kernel_size: side, pixels.
        kernel: further arguments of `SirenKernel`.
    """

    def __init__(self, group: AffineGroup, c_in: int, c_out: int, kernel_size: int, **kernel: Any) -> None:
        super().__init__()
        self.group, self.kernel_size = group, kernel_size
        self.kernel = SirenKernel(2 + group.coordinates, c_in, c_out, kernel_size, **kernel)

    def values(self, places: Tensor, between: Tensor) -> Tensor:
        """Values (..., C', C) of the kernel.

        Args:
            places: (..., 2) seen from the map out.
            between: maps (..., 2, 2), inverse map out times map in; for many places at once where a size is 1.
        """
        maps = self.group.coords(between).expand(*places.shape[:-1], -1)
        coordinates = torch.cat([places, maps], dim=-1)
        values = self.kernel(coordinates.to(self.kernel.last.weight.dtype))
        return values * mask_of(self.group, places, maps[..., :-2])[..., None, None]

    def weights(self, out: MapPair, into: MapPair) -> Tensor:
        """Kernels (C', G', C, G, k, k)."""
        places = seen_from(out, self.kernel_size)[:, None].expand(-1, len(into.g), -1, -1, -1)
        values = self.values(places, (out.inverse[:, None] @ into.g)[:, :, None, None])
        values = values / _determinants(self.group, into.g).to(values)[:, None, None, None, None] / len(into.g)
        return values.permute(4, 0, 5, 1, 2, 3)

    def forward(self, x: Tensor, out: MapPair, into: MapPair, padding: int = 0) -> Tensor:
        """(B, C', G', H', W') at maps `out` of (B, C, G, H, W) at maps `into`."""
        weights = self.weights(out, into)
        flat = weights.flatten(2, 3).flatten(0, 1)
        return F.conv2d(x.flatten(1, 2), flat, padding=padding).unflatten(1, weights.shape[:2])


def seen_from(maps: MapPair, side: int) -> Tensor:
    """Places (G, side, side, 2) of the pixels of a kernel as seen from maps."""
    return torch.einsum("gij,uvj->guvi", maps.inverse, pixel_grid(side).to(maps.inverse))


def mask_of(group: AffineGroup, places: Tensor, stretch: Tensor | None = None) -> Tensor:
    """How much kernels count (...) at places (..., 2): inside the unit circle; for gl2 softly, and by log stretches."""
    distance = places.square().sum(dim=-1)
    if group.kind != "gl2":
        return (distance <= 1).to(torch.get_default_dtype())
    if stretch is not None:
        distance = distance + stretch.square().sum(dim=-1)
    return (SOFTNESS * (1 - distance.sqrt())).sigmoid().to(torch.get_default_dtype())


def _determinants(group: AffineGroup, g: Tensor) -> Tensor:
    return torch.linalg.det(g) if group.kind == "gl2" else torch.ones_like(g[:, 0, 0])
