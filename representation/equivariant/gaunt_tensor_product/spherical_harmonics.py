"""Real spherical harmonics of any degree, in the order of e3nn, and how they turn.

Functions are orthonormal on the sphere ("integral" normalisation) and lie at l * l + l + m of degrees l and orders m
from -l to l. The polar axis is y, so the three of degree 1 are sqrt(3 / 4 pi) times x, y and z.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


def number_of(l_max: int) -> int:
    """How many functions there are up to a degree."""
    return (l_max + 1) ** 2


def degrees(l_max: int) -> Tensor:
    """Degree l of each function, ((l_max + 1)^2,)."""
    every = torch.arange(l_max + 1)
    return every.repeat_interleave(2 * every + 1)


def real_spherical_harmonics(l_max: int, directions: Tensor) -> Tensor:
    """Values (..., (l_max + 1)^2) of all functions up to a degree.

    Args:
        l_max: the degree.
        directions: (..., 3) of any length but 0; a direction of length 0 has only degree 0.
    """
    x, y, z = torch.nn.functional.normalize(directions, dim=-1).unbind(-1)
    is_known = (directions != 0).any(dim=-1)
    # z + i x to the power m: the cosine and sine of m times the azimuth, times the sine of the polar angle.
    cosines, sines = [torch.ones_like(x)], [torch.zeros_like(x)]
    for _ in range(l_max):
        cosines.append(cosines[-1] * z - sines[-1] * x)
        sines.append(cosines[-2] * x + sines[-1] * z)
    found: list[Tensor | None] = [None] * number_of(l_max)
    for m in range(l_max + 1):
        for degree, part in enumerate(_polar_parts(l_max, m, y), start=m):
            middle = degree * degree + degree
            found[middle + m] = part * cosines[m] * (math.sqrt(2) if m else 1)
            if m:
                found[middle - m] = part * sines[m] * math.sqrt(2)
    values = torch.stack(found, dim=-1)
    constant = torch.zeros_like(values)
    constant[..., 0] = values[..., 0]
    return torch.where(is_known[..., None], values, constant)


def _polar_parts(l_max: int, m: int, y: Tensor) -> list[Tensor]:
    """Orthonormal associated Legendre functions of degrees m to l_max without the powers of the sine of the angle."""
    first = math.sqrt(1 / (4 * math.pi))
    for number in range(1, m + 1):
        first *= math.sqrt((2 * number + 1) / (2 * number))
    parts = [torch.full_like(y, first)]
    for degree in range(m + 1, l_max + 1):
        a = math.sqrt((4 * degree**2 - 1) / (degree**2 - m**2))
        value = a * y * parts[-1]
        if degree > m + 1:
            b = math.sqrt(((degree - 1) ** 2 - m**2) / (4 * (degree - 1) ** 2 - 1))
            value = value - a * b * parts[-2]
        parts.append(value)
    return parts


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # training uses it too
def sphere_quadrature(band: int) -> tuple[Tensor, Tensor]:
    """Directions (Q, 3) and weights (Q,), float64, that integrate functions up to degree `band` exactly."""
    height, weight = (torch.from_numpy(values) for values in np.polynomial.legendre.leggauss(band // 2 + 1))
    count = band + 1
    around = 2 * math.pi * torch.arange(count, dtype=torch.float64) / count
    reach = (1 - height.square()).sqrt()[:, None]
    directions = torch.stack(
        [reach * around.sin(), height[:, None].expand(-1, count), reach * around.cos()], dim=2
    ).flatten(0, 1)
    return directions, (weight[:, None] * (2 * math.pi / count)).expand(-1, count).flatten()


def wigner_d(degree: int, rotation: Tensor) -> Tensor:
    """Matrices (..., 2 l + 1, 2 l + 1) that turn features of degree l as rotations (..., 3, 3) turn space."""
    directions, weights = sphere_quadrature(2 * degree)
    directions, weights = directions.to(rotation), weights.to(rotation)
    own = slice(degree**2, (degree + 1) ** 2)
    before = real_spherical_harmonics(degree, directions)[:, own]
    after = real_spherical_harmonics(degree, torch.einsum("...ij,qj->...qi", rotation, directions))[..., own]
    return torch.einsum("...qa,q,qb->...ab", after, weights, before)


def turned_features(features: Tensor, rotation: Tensor) -> Tensor:
    """Features (..., (L + 1)^2) after a rotation (3, 3)."""
    l_max = math.isqrt(features.shape[-1]) - 1
    parts = features.split([2 * degree + 1 for degree in range(l_max + 1)], dim=-1)
    return torch.cat([part @ wigner_d(degree, rotation).T for degree, part in enumerate(parts)], dim=-1)
