"""Geometry of chains: contact maps, directions of bonds, and superposition."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_EPS = 1e-8  # of a squared distance, as a share of the squared contact distance
_BOND_EPS = 1e-12  # of a squared bond, as a share of their mean
_TINY = 1e-30  # where all nodes are one


class Superposition(NamedTuple):
    """What `kabsch` finds: `rotation @ a + shift` lies on b as well as it can.

    Attributes:
        rotation: (3, 3) or (B, 3, 3), never a reflection.
        shift: (3,) or (B, 3), in the unit of the points.
        rmsd: () or (B,), root mean square distance that is left.
    """

    rotation: Tensor
    shift: Tensor
    rmsd: Tensor


def checked_chains(x: Tensor, n_nodes: int | None = None) -> Tensor:
    """Positions (B, n, 3) as they came.

    Args:
        x: positions.
        n_nodes: number n that is expected; None for any of at least 3.

    Raises:
        ValueError: another shape, or numbers that are not finite.
    """
    if x.ndim != 3 or x.shape[2] != 3 or x.shape[1] < 3 or (n_nodes is not None and x.shape[1] != n_nodes):
        wanted = "at least 3" if n_nodes is None else n_nodes
        raise ValueError(f"chains: expected (B, n, 3) with n of {wanted}, found {tuple(x.shape)}")
    if not torch.isfinite(x).all():
        raise ValueError("chains: expected finite positions, found others")
    return x


def centred(x: Tensor) -> Tensor:
    """Positions (B, n, 3) about their mean."""
    return x - x.mean(dim=-2, keepdim=True)


def distances(x: Tensor, eps: float) -> Tensor:
    """Distances (B, n, n) of nodes (B, n, 3), 0 from a node to itself.

    Args:
        x: positions.
        eps: what is added to squared distances, so that nodes that touch have a gradient.
    """
    # By coordinate: three maps are added faster than a sum over three neighbouring numbers.
    squared = sum((part[..., :, None] - part[..., None, :]).square() for part in x.unbind(dim=-1))
    found = (squared + eps).sqrt()
    same = torch.eye(x.shape[-2], dtype=torch.bool, device=x.device)
    return found.masked_fill(same, 0.0)


def contact_map(x: Tensor, r0: float, width: float) -> Tensor:
    """How near each node is to each: sigmoid((r0 - d) / width), and 1 on the diagonal.

    Args:
        x: positions (B, n, 3).
        r0: distance of half a contact, in the unit of x.
        width: over which contacts fade, in the same unit.

    Returns:
        (B, n, n) in [0, 1]. Rotations, shifts and reflections of x leave it as it is.

    Raises:
        ValueError: r0 or width that is not positive.
    """
    if r0 <= 0 or width <= 0:
        raise ValueError(f"r0, width: expected positive lengths, found {r0} and {width}")
    contacts = ((r0 - distances(x, _EPS * r0**2)) / width).sigmoid()
    same = torch.eye(x.shape[-2], dtype=torch.bool, device=x.device)
    return contacts.masked_fill(same, 1.0)


def bond_lengths(x: Tensor) -> Tensor:
    """Lengths (B, n - 1) of the bonds of chains (B, n, 3), in the unit of x."""
    return x.diff(dim=-2).norm(dim=-1)


def bond_orientations(x: Tensor) -> Tensor:
    """Unit vectors (B, n - 1, 3) from each node to the next of chains (B, n, 3); 0 where two nodes coincide."""
    bonds = x.diff(dim=-2)
    squared = bonds.square().sum(dim=-1, keepdim=True)
    return bonds / (squared + _BOND_EPS * squared.mean(dim=-2, keepdim=True) + _TINY).sqrt()


def kabsch(a: Tensor, b: Tensor) -> Superposition:
    """The rigid motion that brings points a nearest to points b (Kabsch, 1976).

    Args:
        a: (n, 3) or (B, n, 3).
        b: likewise.

    Raises:
        ValueError: shapes that differ or are no points.
    """
    if a.shape != b.shape or a.ndim not in (2, 3) or a.shape[-1] != 3:
        raise ValueError(f"points: expected twice (n, 3) or (B, n, 3), found {tuple(a.shape)} and {tuple(b.shape)}")
    u, _, v = torch.linalg.svd(centred(a).mT @ centred(b))
    handed = torch.linalg.det(u @ v).sign()
    signs = torch.stack([torch.ones_like(handed), torch.ones_like(handed), handed], dim=-1)
    rotation = v.mT @ (signs[..., None] * u.mT)
    shift = b.mean(dim=-2) - (rotation @ a.mean(dim=-2)[..., None])[..., 0]
    moved = a @ rotation.mT + shift[..., None, :]
    return Superposition(rotation, shift, rmsd(moved, b))


def rmsd(a: Tensor, b: Tensor) -> Tensor:
    """Root mean square distance (B,) of nodes (B, n, 3), in their unit, as they lie."""
    return (a - b).square().sum(dim=-1).mean(dim=-1).sqrt()


def random_rotations(count: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Rotation matrices (count, 3, 3), uniform: of random unit quaternions."""
    w, x, y, z = torch.nn.functional.normalize(
        torch.randn(count, 4, generator=generator, dtype=torch.float64), dim=1
    ).unbind(dim=1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=1).unflatten(1, (3, 3)).to(dtype)


def rotations_about_z(count: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Rotation matrices (count, 3, 3) about z, uniform."""
    angles = 2 * torch.pi * torch.rand(count, generator=generator, dtype=torch.float64)
    found = torch.eye(3, dtype=torch.float64).repeat(count, 1, 1)
    found[:, 0, 0], found[:, 0, 1], found[:, 1, 0], found[:, 1, 1] = (
        angles.cos(), -angles.sin(), angles.sin(), angles.cos(),
    )  # fmt: skip
    return found.to(dtype)


def mean_curvature(x: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean angle between bonds that follow each other, by their mean length, (B,) in rad per unit of x (B, n, 3)."""
    bonds = np.diff(np.asarray(x, np.float64), axis=1)
    lengths = np.linalg.norm(bonds, axis=2, keepdims=True)
    units = bonds / np.maximum(lengths, 1e-12)
    angles = np.arccos(np.clip((units[:, 1:] * units[:, :-1]).sum(axis=2), -1, 1))
    return angles.mean(axis=1) / np.maximum(lengths.mean(axis=(1, 2)), 1e-12)


def mean_direction(x: NDArray[np.floating]) -> NDArray[np.float64]:
    """Direction (B, 3) of the mean of the bonds' unit vectors of chains (B, n, 3); unit vectors."""
    bonds = np.diff(np.asarray(x, np.float64), axis=1)
    units = bonds / np.maximum(np.linalg.norm(bonds, axis=2, keepdims=True), 1e-12)
    mean = units.mean(axis=1)
    return mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
