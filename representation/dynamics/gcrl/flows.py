"""Affine coupling flows, and a mixture of fixed normals: densities that are learned and can be computed."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

WIDTH = 32


class AffineCoupling(nn.Module):
    """One half of a vector is scaled and shifted by what a network makes of the other.

    Args:
        dim: numbers of a vector; even.
        reverse: whether the second half changes, instead of the first.
    """

    def __init__(self, dim: int, reverse: bool) -> None:
        super().__init__()
        if dim < 2 or dim % 2:
            raise ValueError(f"dim: expected an even number from 2, found {dim}")
        self.reverse = reverse
        self.net = nn.Sequential(nn.Linear(dim // 2, WIDTH), nn.LeakyReLU(), nn.Linear(WIDTH, dim))
        self.scale = nn.Parameter(torch.ones(dim // 2))

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What stays, what changes, log scale and shift."""
        first, second = x.chunk(2, dim=-1)
        kept, changed = (first, second) if self.reverse else (second, first)
        log_scale, shift = self.net(kept).chunk(2, dim=-1)
        return kept, changed, self.scale * log_scale.tanh(), shift

    def _joined(self, kept: Tensor, changed: Tensor) -> Tensor:
        return torch.cat([kept, changed] if self.reverse else [changed, kept], dim=-1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (..., dim), and the logarithms (...) of how much they stretch space."""
        kept, changed, log_scale, shift = self._parts(x)
        return self._joined(kept, (changed + shift) * log_scale.exp()), log_scale.sum(dim=-1)

    def inverse(self, u: Tensor) -> Tensor:
        """Vectors that `forward` maps to these."""
        kept, changed, log_scale, shift = self._parts(u)
        return self._joined(kept, changed * (-log_scale).exp() - shift)


class Flow(nn.Module):
    """Some couplings, halves in turn.

    Args:
        dim: numbers of a vector; even.
        n: couplings.
    """

    def __init__(self, dim: int, n: int = 3) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(AffineCoupling(dim, reverse=number % 2 == 1) for number in range(n))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (..., dim), and the logarithms (...) of how much they stretch space."""
        total = x.new_zeros(x.shape[:-1])
        for coupling in self.couplings:
            x, log_det = coupling(x)
            total = total + log_det
        return x, total

    def inverse(self, u: Tensor) -> Tensor:
        """Vectors that `forward` maps to these."""
        for coupling in reversed(self.couplings):
            u = coupling.inverse(u)
        return u


class MixturePrior(nn.Module):
    """Fixed normals, the e-th about e in every coordinate with variance e + 1, with learned weights.

    Args:
        n_env: how many.
        dim: numbers of a vector.
    """

    def __init__(self, n_env: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.logits = nn.Parameter(-torch.ones(n_env))

    def log_prob(self, u: Tensor) -> Tensor:
        """Log densities (...) of vectors (..., dim)."""
        means = torch.arange(len(self.logits), dtype=u.dtype, device=u.device)
        variances = means + 1
        squares = (u[..., None, :] - means[:, None]).square().sum(dim=-1) / variances
        each = -0.5 * squares - 0.5 * self.dim * (2 * math.pi * variances).log()
        return (each + self.logits.log_softmax(dim=0)).logsumexp(dim=-1)
