"""`AffineGroup`: linear maps of the plane, their coordinates, and draws of them."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from representation.equivariant.lie_decompositions.polar import polar_exp, polar_log

Kind = Literal["so2", "sl2", "gl2"]
Rotations = Literal["equidistant", "uniform"]

HALF = math.sqrt(0.5)
SQUEEZE = ((HALF, 0.0), (0.0, -HALF))
SHEAR = ((0.0, HALF), (HALF, 0.0))
SCALE = ((HALF, 0.0), (0.0, HALF))
TURN = ((0.0, -HALF), (HALF, 0.0))
BASES = {"so2": (TURN,), "sl2": (SQUEEZE, SHEAR, TURN), "gl2": (SQUEEZE, SHEAR, SCALE, TURN)}


class MapPair(NamedTuple):
    """Maps (G, 2, 2) and their inverses."""

    g: Tensor
    inverse: Tensor


class AffineGroup:
    """Rotations, maps that keep areas, or all maps without reflection; stretches are drawn log-normally.

    Args:
        kind: "so2", "sl2" or "gl2".
        spd_var: variance of each coordinate of the logarithm of a stretch, in a basis of unit length.
        rotations: "equidistant" from 0 on, all different, or each "uniform".

    Raises:
        ValueError: of no known kind, or a negative variance.
    """

    def __init__(self, kind: Kind = "sl2", spd_var: float = 0.1, rotations: Rotations = "equidistant") -> None:
        if kind not in BASES or rotations not in ("equidistant", "uniform") or not spd_var >= 0:
            raise ValueError(
                f"kind, rotations, spd_var: expected one of {', '.join(BASES)}, equidistant or uniform, and not "
                f"negative, found {kind!r}, {rotations!r} and {spd_var}"
            )
        self.kind, self.spd_var, self.rotations = kind, spd_var, rotations
        self._basis = torch.tensor(BASES[kind], dtype=torch.float64)
        self.dim = len(self._basis)
        self.coordinates = self.dim + 1  # an angle is two

    def hat(self, coefficients: Tensor) -> Tensor:
        """Matrices (..., 2, 2) of coefficients (..., dim) in the orthonormal basis, whose last one turns."""
        return torch.einsum("...d,dij->...ij", coefficients, self._basis.to(coefficients))

    def vee(self, x: Tensor) -> Tensor:
        """Coefficients (..., dim) of matrices (..., 2, 2)."""
        return torch.einsum("...ij,dij->...d", x, self._basis.to(x))

    def coords(self, g: Tensor) -> Tensor:
        """Numbers (..., dim + 1) of maps (..., 2, 2): log stretch, and sine and cosine of the angle."""
        coefficients = self.vee(polar_log(g))
        angle = coefficients[..., -1:] * HALF
        return torch.cat([coefficients[..., :-1], angle.sin(), angle.cos()], dim=-1)

    def sample_pair(self, n: int, generator: torch.Generator | None = None) -> MapPair:
        """Draw `n` maps and their inverses, each as exact as the other: (n, 2, 2), float64.

        Equidistant ones come in fours, quarter turns of each other, if `n` is a multiple of 4: what is made of a
        picture by all of them then turns exactly with its quarter turns.
        """
        quarters = 4 if self.rotations == "equidistant" and n % 4 == 0 else 1
        count = n // quarters
        stretch = torch.zeros(count, self.dim, dtype=torch.float64)
        if self.dim > 1:
            drawn = torch.randn(count, self.dim - 1, dtype=torch.float64, generator=generator)
            stretch[:, :-1] = math.sqrt(self.spd_var) * drawn
        if self.rotations == "uniform":
            angle = 2 * math.pi * torch.rand(count, dtype=torch.float64, generator=generator)
        else:
            angle = 2 * math.pi * torch.arange(count, dtype=torch.float64) / n
        turn = torch.zeros_like(stretch)
        turn[:, -1] = angle / HALF
        push, pull = polar_exp(self.hat(stretch)), polar_exp(self.hat(-stretch))
        rotation, back = polar_exp(self.hat(turn)), polar_exp(self.hat(-turn))
        quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
        turns = torch.stack([torch.linalg.matrix_power(quarter, power) for power in range(quarters)])[:, None]
        return MapPair((turns @ push @ rotation).flatten(0, 1), (back @ pull @ turns.mT).flatten(0, 1))
