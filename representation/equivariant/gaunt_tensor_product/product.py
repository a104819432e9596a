"""The Gaunt tensor product: features are functions on the sphere, and the product of two is that of their values.

Features of degree l have parity (-1)^l, and no path has an odd sum of degrees: there are no cross products. Those are
made by `odd_product.odd_product`.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from representation.equivariant.gaunt_tensor_product.fourier import packed
from representation.equivariant.gaunt_tensor_product.spherical_harmonics import (
    degrees,
    number_of,
    real_spherical_harmonics,
    sphere_quadrature,
)

Method = Literal["fft", "grid", "dense"]


def degree_of(features: Tensor) -> int:
    """Largest degree of features (..., (L + 1)^2).

    Raises:
        ValueError: another number of them, or numbers that are no float32 or float64.
    """
    l_max = math.isqrt(features.shape[-1]) - 1
    if l_max < 0 or number_of(l_max) != features.shape[-1]:
        raise ValueError(f"features: expected (L + 1)^2 in the last dimension, found {features.shape[-1]}")
    if features.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"features: expected float32 or float64, found {features.dtype}")
    return l_max


@lru_cache(maxsize=4096)
def path_strength(l1: int, l2: int, l3: int) -> float:
    """Frobenius norm of the Gaunt coefficients of three degrees; 0 if they make no triangle or their sum is odd."""
    if (l1 + l2 + l3) % 2 or not abs(l1 - l2) <= l3 <= l1 + l2:
        return 0.0
    x, weight = np.polynomial.legendre.leggauss((l1 + l2 + l3) // 2 + 1)
    values = [np.polynomial.legendre.Legendre.basis(degree)(x) for degree in (l1, l2, l3)]
    squared = 0.5 * float((weight * values[0] * values[1] * values[2]).sum())
    return math.sqrt((2 * l1 + 1) * (2 * l2 + 1) * (2 * l3 + 1) / (4 * math.pi) * max(squared, 0.0))


@lru_cache(maxsize=1024)
@torch.inference_mode(False)  # training uses it too
def gaunt_coefficients(l1: int, l2: int, l3: int) -> Tensor:
    """Integrals (2 l1 + 1, 2 l2 + 1, 2 l3 + 1), float64, of products of three spherical harmonics."""
    if path_strength(l1, l2, l3) == 0:
        return torch.zeros(2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1, dtype=torch.float64)
    directions, weights = sphere_quadrature(l1 + l2 + l3)
    values = real_spherical_harmonics(max(l1, l2, l3), directions)
    one, two, three = (values[:, degree**2 : (degree + 1) ** 2] for degree in (l1, l2, l3))
    return torch.einsum("q,qa,qb,qc->abc", weights, one, two, three)


def output_deviation(l1: int, l2: int, l_out: int) -> Tensor:
    """Standard deviations (l_out + 1,) of the product's degrees if all features are normal and independent."""
    paths = [
        sum(path_strength(a, b, degree) ** 2 for a in range(l1 + 1) for b in range(l2 + 1)) / (2 * degree + 1)
        for degree in range(l_out + 1)
    ]
    return torch.tensor(paths, dtype=torch.float64).sqrt()


def gaunt_tensor_product(x1: Tensor, x2: Tensor, l_out: int | None = None, method: Method = "fft") -> Tensor:
    """Product (..., (l_out + 1)^2) of features (..., (L1 + 1)^2) and (..., (L2 + 1)^2), exact in every degree kept.

    Args:
        x1: features; dimensions before the last are those of `x2`, or broadcast.
        x2: features.
        l_out: largest degree kept; all, L1 + L2, if None.
        method: "fft" multiplies on a grid of both angles, to which and from which Fourier transforms lead, in
            O(L^3); "grid" on one of the sphere, by matrices, which is faster for small degrees; "dense" sums over all
            paths.

    Raises:
        ValueError: features of another kind, or degrees that the product does not have.
    """
    l1, l2 = degree_of(x1), degree_of(x2)
    l_out = l1 + l2 if l_out is None else l_out
    if not 0 <= l_out <= l1 + l2:
        raise ValueError(f"l_out: expected at most {l1 + l2}, found {l_out}")
    if method == "fft":
        return from_torus(to_torus(x1, l1 + l2) * to_torus(x2, l1 + l2), l_out, l1 + l2)
    if method == "grid":
        there, _ = _sphere_tables(max(l1, l2), l1 + l2 + l_out, x1.dtype)
        _, back = _sphere_tables(l_out, l1 + l2 + l_out, x1.dtype)
        there, back = there.to(x1.device), back.to(x1.device)
        return ((x1 @ there[: number_of(l1)]) * (x2 @ there[: number_of(l2)])) @ back
    if method == "dense":
        return torch.einsum("...a,...b,abc->...c", x1, x2, _all_coefficients(l1, l2, l_out, x1.dtype).to(x1.device))
    raise ValueError(f"method: expected fft, grid or dense, found {method!r}")


def to_torus(features: Tensor, band: int) -> Tensor:
    """Values (..., N, N) at N of each angle, enough for products up to `band`, of features (..., (L + 1)^2)."""
    l_max, size = degree_of(features), next_fast_len(2 * band + 1, real=True)
    index, table = (values.to(features.device) for values in packed(l_max, None, features.dtype))
    padded = torch.nn.functional.pad(features.reshape(-1, features.shape[-1]), (0, 1))
    # Orders first: a matrix for each of them.
    by_order = padded[:, index.flatten()].unflatten(1, index.shape).transpose(0, 1)
    waves = torch.view_as_complex((by_order @ torch.view_as_real(table).flatten(2)).unflatten(2, (-1, 2)))
    spectrum = waves.new_zeros(waves.shape[1], size, size // 2 + 1)
    shifted = waves.permute(1, 2, 0)  # (B, u from -L to L, v from 0 to L)
    spectrum[:, : l_max + 1, : l_max + 1] = shifted[:, l_max:]
    if l_max:
        spectrum[:, -l_max:, : l_max + 1] = shifted[:, :l_max]
    return torch.fft.irfft2(spectrum, s=(size, size), norm="forward").reshape(*features.shape[:-1], size, size)


def from_torus(values: Tensor, l_out: int, band: int) -> Tensor:
    """Features (..., (l_out + 1)^2) of values (..., N, N) at both angles, of a product of degrees up to `band`."""
    spectrum = torch.fft.rfft2(values.reshape(-1, *values.shape[-2:]), norm="forward")[:, :, : l_out + 1]
    # (v, B, u from -band to band)
    shifted = torch.cat([spectrum[:, spectrum.shape[1] - band :], spectrum[:, : band + 1]], dim=1).permute(2, 0, 1)
    index, table = (one.to(values.device) for one in packed(l_out, band, values.dtype))
    # The real part of a product of complex numbers, as a product of matrices of real ones.
    pairs = torch.view_as_real(table.conj().resolve_conj()).flatten(2)
    by_order = torch.view_as_real(shifted).flatten(2) @ pairs.transpose(1, 2)
    by_order[1:] = 2 * by_order[1:]  # orders m stand for frequencies m and -m
    found = by_order.new_zeros(by_order.shape[1], number_of(l_out) + 1)
    found = found.index_add(1, index.flatten(), by_order.transpose(0, 1).flatten(1))
    return found[:, :-1].reshape(*values.shape[:-2], -1)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # training uses it too
def _sphere_tables(l_max: int, band: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Matrices from features to values at points of the sphere, and back."""
    directions, weights = sphere_quadrature(band)
    values = real_spherical_harmonics(l_max, directions)
    return values.T.to(dtype).contiguous(), (weights[:, None] * values).to(dtype)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # training uses it too
def _all_coefficients(l1: int, l2: int, l_out: int, dtype: torch.dtype) -> Tensor:
    found = torch.zeros(number_of(l1), number_of(l2), number_of(l_out), dtype=torch.float64)
    for a in range(l1 + 1):
        for b in range(l2 + 1):
            for c in range(abs(a - b), min(a + b, l_out) + 1, 2):
                block = [slice(degree**2, (degree + 1) ** 2) for degree in (a, b, c)]
                found[block[0], block[1], block[2]] = gaunt_coefficients(a, b, c)
    return found.to(dtype)


def by_degree(weights: Tensor) -> Tensor:
    """Weights (..., L + 1) of degrees as weights (..., (L + 1)^2) of features."""
    return weights[..., degrees(weights.shape[-1] - 1).to(weights.device)]
