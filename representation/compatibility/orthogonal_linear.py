"""`OrthogonalLinear`: a learned rotation or reflection, which changes no length and no angle."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal


class OrthogonalLinear(nn.Linear):
    """A linear map (B, dim) to (B, dim) by an orthogonal matrix.

    What is trained lies in the tangent space of a first matrix, so any step of any optimizer leaves it orthogonal.

    Args:
        dim: numbers of a vector.
        bias: whether a learned vector is added; with it, distances stay and angles do not.
        parametrization: how the tangent space is mapped to matrices.
        generator: draws the first matrix.
    """

    def __init__(
        self,
        dim: int,
        bias: bool = True,
        parametrization: Literal["matrix_exp", "cayley"] = "matrix_exp",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(dim, dim, bias)
        nn.init.orthogonal_(self.weight, generator=generator)
        if bias:
            nn.init.zeros_(self.bias)
        orthogonal(self, "weight", orthogonal_map=parametrization)

    def matrix(self) -> Tensor:
        """The matrix (dim, dim) as it is now; a plain one, to deploy."""
        return self.weight
