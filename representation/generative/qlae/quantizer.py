"""`ScalarQuantizer`: each latent is rounded to the nearest of its own few scalars (section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

REACH = 0.5


class Quantized(NamedTuple):
    """Latents that were rounded.

    Attributes:
        straight: (B, n) what the decoder takes: the scalars, with the gradient of the latents before.
        scalars: (B, n), with gradients to the scalars.
        codes: (B, n) numbers of the scalars.
    """

    straight: Tensor
    scalars: Tensor
    codes: Tensor


class ScalarQuantizer(nn.Module):
    """Scalars of n latents, at first evenly from -0.5 to 0.5.

    Args:
        n_latents: n.
        n_values: scalars of each latent, or of each by itself.
        learn: whether they are trained.

    Attributes:
        values: (n, most); latents of fewer scalars have infinite ones behind.

    Raises:
        ValueError: no latent, or one with no value.
    """

    def __init__(self, n_latents: int, n_values: int | Sequence[int] = 10, learn: bool = True) -> None:
        super().__init__()
        sizes = [n_values] * n_latents if isinstance(n_values, int) else list(n_values)
        if n_latents < 1 or len(sizes) != n_latents or min(sizes) < 1:
            raise ValueError(f"n_latents, n_values: expected at least 1 of each, found {n_latents} and {n_values}")
        self.sizes = tuple(sizes)
        most = max(sizes)
        values = torch.zeros(n_latents, most)
        for row, size in zip(values, sizes, strict=True):
            row[:size] = torch.linspace(-REACH, REACH, size)
        self.values = nn.Parameter(values, requires_grad=learn)
        taken = torch.arange(most) < torch.tensor(sizes)[:, None]
        self.register_buffer("taken", taken, persistent=False)

    def forward(self, z: Tensor) -> Quantized:
        """Round latents (B, n)."""
        distances = (z.detach()[..., None] - self.values.detach()).abs().masked_fill(~self.taken, torch.inf)
        codes = distances.argmin(-1)
        scalars = self.embed(codes)
        return Quantized(z + (scalars - z).detach(), scalars, codes)

    def embed(self, codes: Tensor) -> Tensor:
        """Scalars (B, n) of codes (B, n).

        Raises:
            ValueError: another number of latents, or codes that they do not have; names the latent.
        """
        if codes.shape[-1] != len(self.sizes):
            raise ValueError(f"codes: expected {len(self.sizes)} latents, found {codes.shape[-1]}")
        most = torch.tensor(self.sizes, device=codes.device)
        wrong = ((codes < 0) | (codes >= most)).flatten(0, -2).any(0).nonzero()
        if len(wrong):
            latent = int(wrong[0])
            raise ValueError(f"codes: latent {latent}: expected 0 to {self.sizes[latent] - 1}, found another")
        return self.values.T.gather(0, codes.reshape(-1, len(self.sizes))).view(codes.shape)


def quantization_loss(z: Tensor, scalars: Tensor) -> Tensor:
    """(B,) mean squared distance that moves scalars towards latents."""
    return (z.detach() - scalars).square().mean(-1)


def commitment_loss(z: Tensor, scalars: Tensor) -> Tensor:
    """(B,) mean squared distance that moves latents towards their scalars."""
    return F.mse_loss(z, scalars.detach(), reduction="none").mean(-1)
