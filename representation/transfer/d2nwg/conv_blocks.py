"""Blocks of convolutional autoencoders and U-Nets: residual blocks, attention over places."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

GROUPS = 32


def norm(channels: int) -> nn.GroupNorm:
    """Group normalisation in 32 groups, or as many of at most 32 as divide the channels."""
    return nn.GroupNorm(math.gcd(GROUPS, channels), channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """Norm, SiLU and a 3 x 3 convolution, twice, added to the input.

    Args:
        channels: of the input.
        out: of the output.
        embedding: numbers of a vector that scales and shifts what is normalised last; 0 for none.
        resample: halve the side by means, or double it by repetition, within the block.
    """

    def __init__(
        self, channels: int, out: int, embedding: int = 0, resample: Literal["up", "down"] | None = None
    ) -> None:
        super().__init__()
        self.resample = resample
        self.norm1, self.conv1 = norm(channels), nn.Conv2d(channels, out, 3, padding=1)
        self.norm2, self.conv2 = norm(out), nn.Conv2d(out, out, 3, padding=1)
        self.modulate = nn.Linear(embedding, 2 * out) if embedding else None
        self.skip = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """(B, channels, H, W) to (B, out, H', W')."""
        y = self._resampled(F.silu(self.norm1(x)))
        y = self.norm2(self.conv1(y))
        if self.modulate is not None and embedding is not None:
            scale, shift = self.modulate(F.silu(embedding))[..., None, None].chunk(2, dim=1)
            y = y * (1 + scale) + shift
        return self.skip(self._resampled(x)) + self.conv2(F.silu(y))

    def _resampled(self, x: Tensor) -> Tensor:
        if self.resample is None:
            return x
        return F.avg_pool2d(x, 2) if self.resample == "down" else F.interpolate(x, scale_factor=2.0)


class PlaceAttention(nn.Module):
    """Self-attention of all places, added to the input."""

    def __init__(self, channels: int, heads: int = 1) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"channels: expected a multiple of {heads} heads, found {channels}")
        self.heads, self.norm = heads, norm(channels)
        self.qkv, self.out = nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1)).mT.unbind(1)
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(y.mT.flatten(1, 2).unflatten(2, x.shape[2:]))


class Middle(nn.Module):
    """Residual block, attention, residual block."""

    def __init__(self, channels: int, heads: int = 1, embedding: int = 0) -> None:
        super().__init__()
        self.first = ResidualBlock(channels, channels, embedding)
        self.attention = PlaceAttention(channels, heads)
        self.last = ResidualBlock(channels, channels, embedding)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """(B, C, H, W) to the same."""
        return self.last(self.attention(self.first(x, embedding)), embedding)


def sinusoids(steps: Tensor, width: int) -> Tensor:
    """Cosines and sines (B, width) of step numbers (B,), of wavelengths up to 10,000."""
    rates = torch.exp(-math.log(10_000) * torch.arange(width // 2, device=steps.device) / (width // 2))
    angles = steps[:, None].float() * rates
    return torch.cat([angles.cos(), angles.sin()], dim=1)
