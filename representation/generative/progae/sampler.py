"""`LatentSampler`: codes like those of training, both drawn on their own, so that shapes and poses are mixed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from representation.generative.progae.model import ChainCode

Density = Literal["gaussian", "kde"]
_RIDGE = 1e-6  # of the variance, so that constant numbers do no harm


@dataclass(frozen=True)
class LatentSampler:
    """Densities of both codes.

    Attributes:
        codes: those that were fitted.
        density: `gaussian`, one normal distribution, or `kde`, one about every code, by Scott's rule.
    """

    codes: ChainCode
    density: Density = "gaussian"

    @classmethod
    def fit(cls, codes: ChainCode, density: Density = "gaussian") -> LatentSampler:
        """Fit the densities.

        Raises:
            ValueError: another density, fewer than two codes, or codes that are not finite.
        """
        if density not in ("gaussian", "kde"):
            raise ValueError(f"density: expected gaussian or kde, found {density!r}")
        if min(len(part) for part in codes) < 2 or not all(torch.isfinite(part).all() for part in codes):
            raise ValueError(f"codes: expected two or more, finite, found {[tuple(part.shape) for part in codes]}")
        return cls(ChainCode(*(part.detach() for part in codes)), density)

    def sample(self, count: int, seed: int = 0) -> ChainCode:
        """Draw (count, d_I) and (count, d_E).

        Raises:
            ValueError: a count below 1.
        """
        if count < 1:
            raise ValueError(f"count: expected at least 1, found {count}")
        generator = torch.Generator().manual_seed(seed)
        return ChainCode(*(self._drawn(part, count, generator) for part in self.codes))

    def _drawn(self, codes: Tensor, count: int, generator: torch.Generator) -> Tensor:
        n, d = codes.shape
        spread = torch.atleast_2d(codes.T.cov())
        spread = spread + _RIDGE * (spread.trace() / d + _RIDGE) * torch.eye(d, dtype=codes.dtype)
        noise = torch.randn(count, d, generator=generator, dtype=codes.dtype) @ torch.linalg.cholesky(spread).mT
        if self.density == "gaussian":
            return codes.mean(dim=0) + noise
        chosen = torch.randint(n, (count,), generator=generator)
        return codes[chosen] + noise * n ** (-1 / (d + 4))
