"""The product that Gaunt tensor products leave out: cross products, and all other paths of an odd sum of degrees.

Of functions f and g on the sphere it is n · (grad f x grad g) at each direction n, which turns with them, changes its
sign when they are exchanged, and has just these paths; each is a multiple of that of Clebsch-Gordan coefficients, which
are determined up to a factor. Features of degree l that come out have parity -(-1)^l where those that come in have
(-1)^l: a mirror image of both gives minus the mirror image.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from representation.equivariant.gaunt_tensor_product.product import degree_of
from representation.equivariant.gaunt_tensor_product.spherical_harmonics import (
    number_of,
    real_spherical_harmonics,
    sphere_quadrature,
)


def odd_product(x1: Tensor, x2: Tensor, l_out: int | None = None) -> Tensor:
    """Features (..., (l_out + 1)^2) of n · (grad F1 x grad F2); of degree 1 with 1, sqrt(3 / 4 pi) times x1 x x2.

    By values at directions, O(L^4).

    Args:
        x1: (..., (L1 + 1)^2), float32 or float64.
        x2: (..., (L2 + 1)^2), of the same type.
        l_out: largest degree that is kept; L1 + L2 - 1 if None, above which there is nothing.

    Raises:
        ValueError: as `product.degree_of`.
    """
    l1, l2 = degree_of(x1), degree_of(x2)
    l_out = max(l1 + l2 - 1, 0) if l_out is None else l_out
    directions, slopes, back = (table.to(x1) for table in _tables(max(l1, l2), l_out, l1 + l2 + l_out))
    first, second = (
        torch.einsum("...a,aqk->...qk", x, slopes[: number_of(degree)]) for x, degree in ((x1, l1), (x2, l2))
    )
    return (directions * torch.linalg.cross(first, second)).sum(dim=-1) @ back


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # training uses it too
def _tables(l_max: int, l_out: int, band: int) -> tuple[Tensor, Tensor, Tensor]:
    """Directions (Q, 3), gradients of functions there (A, Q, 3), and a matrix (Q, A_out) from values to features."""
    directions, weights = sphere_quadrature(band)
    slopes = torch.autograd.functional.jacobian(lambda n: real_spherical_harmonics(l_max, n).sum(dim=0), directions)
    return directions, slopes, weights[:, None] * real_spherical_harmonics(l_out, directions)
