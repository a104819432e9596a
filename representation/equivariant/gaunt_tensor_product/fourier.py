"""Functions on the sphere as trigonometric polynomials of both angles, and back.

The polar angle t, from y, goes round a whole circle: x = sin t sin p, y = cos t, z = sin t cos p. Every function of
order m is a polynomial of e^(i t) times e^(i p m) and e^(-i p m) alone.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from representation.equivariant.gaunt_tensor_product.spherical_harmonics import number_of, real_spherical_harmonics


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # training uses it too
def sh_to_fourier(l_max: int) -> Tensor:
    """Coefficients ((L + 1)^2, 2 L + 1, 2 L + 1), complex128, of each function at frequencies u and v from -L to L."""
    count = 2 * l_max + 1
    angle = 2 * math.pi * torch.arange(count, dtype=torch.float64) / count
    polar, around = torch.meshgrid(angle, angle, indexing="ij")
    directions = torch.stack([polar.sin() * around.sin(), polar.cos(), polar.sin() * around.cos()], dim=2)
    values = real_spherical_harmonics(l_max, directions).permute(2, 0, 1)
    return torch.fft.fftshift(torch.fft.fft2(values), dim=(1, 2)) / count**2


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # training uses it too
def fourier_to_sh(l_out: int, band: int) -> Tensor:
    """Integrals ((l_out + 1)^2, 2 band + 1, 2 band + 1), complex128, of each function times e^(i u t + i v p).

    Frequencies u and v go from -band to band. The integral is over the sphere, where t goes round half a circle only.
    """
    table, reach = sh_to_fourier(l_out), min(l_out, band)
    frequency = torch.arange(-band, band + 1)[:, None] + torch.arange(-l_out, l_out + 1)[None, :]
    integral = torch.zeros(frequency.shape, dtype=torch.complex128)
    is_even = frequency % 2 == 0
    integral[is_even] = (2 / (1 - frequency[is_even].double().square())).to(torch.complex128)
    integral[frequency.abs() == 1] = 0.5j * math.pi * frequency[frequency.abs() == 1].double()
    # Only v' = -v of the function is left of the integral over p.
    mirrored = table.flip(2)[:, :, l_out - reach : l_out + reach + 1]
    found = torch.zeros(number_of(l_out), 2 * band + 1, 2 * band + 1, dtype=torch.complex128)
    found[:, :, band - reach : band + reach + 1] = 2 * math.pi * torch.einsum("uw,iwv->iuv", integral, mirrored)
    return found


class PackedTables(NamedTuple):
    """Both tables without their zeros, by order: a coefficient of order m meets frequencies v = m alone (and -m).

    Attributes:
        index: (M, 2 K) numbers of the functions of orders m and -m, degrees 0 to L; of none, the number of functions.
        table: (M, 2 K, U) complex.
    """

    index: Tensor
    table: Tensor


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # training uses it too
def packed(l_max: int, band: int | None, dtype: torch.dtype) -> PackedTables:
    """Tables of features up to degree `l_max`: to frequencies up to it, or back from those up to `band`.

    Args:
        l_max: L, K = M = L + 1.
        band: None for the way there.
        dtype: real, that of the features.
    """
    full = sh_to_fourier(l_max) if band is None else fourier_to_sh(l_max, band)
    middle, none = full.shape[2] // 2, number_of(l_max)
    index = torch.full((l_max + 1, 2, l_max + 1), none)
    for m in range(l_max + 1):
        for degree in range(m, l_max + 1):
            index[m, 0, degree] = degree**2 + degree + m
            if m:
                index[m, 1, degree] = degree**2 + degree - m
    index = index.flatten(1)
    padded = torch.cat([full, torch.zeros_like(full[:1])])
    tables = []
    for m in range(l_max + 1):
        here = middle + m
        tables.append(padded[index[m], :, here] if here < full.shape[2] else torch.zeros_like(padded[index[m], :, 0]))
    return PackedTables(index, torch.stack(tables).to(torch.complex128 if dtype == torch.float64 else torch.complex64))
