"""Bounds of piecewise polynomials and of their derivatives.

A polynomial never leaves the range of its Bernstein coefficients (Farouki, The Bernstein polynomial basis: A centennial
retrospective, CAGD 29(6), 2012, section 3), so nothing between samples is missed. On pieces of a segment this range is
at most a little more than the polynomial's.
"""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import NDArray

from policies.execution.trajectory import DERIVATIVE_FACTORS

PIECES = 6  # of a segment


def curve_bounds(coefficients: NDArray, durations: NDArray, order: int) -> NDArray[np.float64]:
    """Bernstein coefficients (K, ..., T, n) of a derivative on all pieces: it lies between the least and the greatest.

    Args:
        coefficients: (..., T, 6, n) of the curves' segments, see `trajectory.segments`.
        durations: (..., T) seconds.
        order: of the derivative.
    """
    stretch = DERIVATIVE_FACTORS[order] * durations[..., None] ** np.arange(6 - order)
    scaled = coefficients[..., order:, :] * stretch[..., None]
    return np.moveaxis(_TO_BOUNDS[order] @ scaled, -2, 0)


def _bernstein(degree: int, pieces: int) -> NDArray[np.float64]:
    """(pieces * (degree + 1), degree + 1) from power coefficients on [0, 1] to Bernstein ones on each piece of it."""
    blocks = []
    for piece in range(pieces):
        # u in [0, 1] on the piece is s = (piece + u) / pieces: first power coefficients in u, then Bernstein's.
        shift = np.zeros((degree + 1, degree + 1))
        for k in range(degree + 1):
            for i in range(k + 1):
                shift[i, k] = comb(k, i) * piece ** (k - i) / pieces**k
        to_bernstein = np.array(
            [[comb(j, i) / comb(degree, i) if i <= j else 0.0 for i in range(degree + 1)] for j in range(degree + 1)]
        )
        blocks.append(to_bernstein @ shift)
    return np.vstack(blocks)


_TO_BOUNDS = [_bernstein(5 - order, PIECES) for order in range(4)]
