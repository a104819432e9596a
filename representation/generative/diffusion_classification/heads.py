"""Heads on features of blocks: linear, perceptron, convolutions, attention, and attention over several features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.generative.diffusion_classification.features import pooled
from representation.pretraining.transformer_block import Block

Norm = Literal["layer", "batch"]
Features = Mapping[tuple[int, int], Tensor]
"""Features (B, C, h, w) by step and block."""


class LinearHead(nn.Module):
    """Means over d x d parts of features, and a linear layer.

    Args:
        C: channels of the features.
        d: parts of each side; the paper's code has 2.
        n: classes.
    """

    def __init__(self, C: int, d: int, n: int) -> None:  # noqa: N803 (as in the paper)
        super().__init__()
        self.d, self.layer = d, nn.Linear(C * d * d, n)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, n) of features (B, C, h, w)."""
        return self.layer(pooled(features, self.d))


class MLPHead(nn.Module):
    """Means over d x d parts of features, and linear layers with ReLU between them.

    Args:
        C: channels of the features.
        d: parts of each side.
        n: classes.
        widths: of the hidden layers.
    """

    def __init__(self, C: int, d: int, n: int, widths: Sequence[int] = (256,)) -> None:  # noqa: N803
        super().__init__()
        self.d, before, layers = d, C * d * d, []
        for width in widths:
            layers += [nn.Linear(before, width), nn.ReLU()]
            before = width
        self.layers = nn.Sequential(*layers, nn.Linear(before, n))

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, n) of features (B, C, h, w)."""
        return self.layers(pooled(features, self.d))


class CNNHead(nn.Module):
    """Twice a 3 x 3 convolution, batch norm, ReLU and a max-pool where the map is large enough; then a linear layer.

    Args:
        C: channels of the features.
        n: classes.
        width: channels of the convolutions.
    """

    def __init__(self, C: int, n: int, width: int = 128) -> None:  # noqa: N803
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
            for before in (C, width)
        )
        self.last = nn.Linear(width, n)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, n) of features (B, C, h, w)."""
        for stage in self.stages:
            features = stage(features)
            features = F.max_pool2d(features, 2) if min(features.shape[-2:]) > 1 else features
        return self.last(features.mean(dim=(2, 3)))


class Tokens(nn.Module):
    """Means over parts of features, normalised, as tokens (B, side * side, dim).

    Args:
        channels: of the features.
        dim: of the tokens.
        side: parts of each side.
        norm: "layer" over channels and places, which fixes the side, or "batch", which wants several pictures.
    """

    def __init__(self, channels: int, dim: int, side: int, norm: Norm) -> None:
        super().__init__()
        self.side = side
        layer = norm == "layer"
        self.norm = nn.LayerNorm((channels, side, side)) if layer else nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, dim, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Tokens of features (B, C, h, w)."""
        return self.conv(self.norm(F.adaptive_avg_pool2d(features, self.side))).flatten(2).transpose(1, 2)


class AttentionPool(nn.Module):
    """Blocks of attention over tokens and a learned first one, which is what comes out; places are not told.

    Raises:
        ValueError: a width that is no multiple of the heads.
    """

    def __init__(self, dim: int, heads: int, depth: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(1, 1, dim))
        self.blocks = nn.ModuleList(Block(dim, heads, qkv_bias=False) for _ in range(depth))

    def forward(self, tokens: Tensor) -> Tensor:
        """Vectors (B, dim) of tokens (B, N, dim)."""
        x = torch.cat([self.first.expand(len(tokens), -1, -1), tokens], dim=1)
        for block in self.blocks:
            x = block(x)
        return x[:, 0]


class AttentionHead(nn.Module):
    """Tokens of the features' places, attention among them, and a linear layer.

    Args:
        C: channels of the features.
        n: classes.
        dim: of the tokens.
        heads: of the attention.
        depth: blocks of attention.
        side: parts of each side of the features that become tokens.
        norm: see `Tokens`.
    """

    def __init__(
        self,
        C: int,  # noqa: N803
        n: int,
        dim: int = 1024,
        heads: int = 8,
        depth: int = 2,
        side: int = 16,
        norm: Norm = "layer",
    ) -> None:
        super().__init__()
        self.tokens, self.pool = Tokens(C, dim, side, norm), AttentionPool(dim, heads, depth)
        self.last = nn.Linear(dim, n)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, n) of features (B, C, h, w)."""
        return self.last(self.pool(self.tokens(features)))


class FusionHead(nn.Module):
    """DifFormer: tokens of all blocks of a step in one attention, the same for all steps; their vectors side by side.

    Args:
        blocks: channels of each block's features, by its number; the paper's code has blocks 19, 24 and 30.
        times: steps; the paper's code has 90, 150 and 300.
        n: classes.
        dim: of the tokens.
        heads: of the attention.
        depth: blocks of attention.
        side: parts of each side of the features that become tokens.
        norm: see `Tokens`.

    Raises:
        ValueError: no block or no step.
    """

    def __init__(
        self,
        blocks: Mapping[int, int],
        times: Sequence[int],
        n: int,
        dim: int = 1024,
        heads: int = 8,
        depth: int = 2,
        side: int = 16,
        norm: Norm = "layer",
    ) -> None:
        super().__init__()
        if not blocks or not times:
            raise ValueError(f"blocks, times: expected at least one of each, found {dict(blocks)} and {list(times)}")
        self.block_numbers, self.times = tuple(blocks), tuple(times)
        self.tokens = nn.ModuleDict({str(b): Tokens(channels, dim, side, norm) for b, channels in blocks.items()})
        self.pool = AttentionPool(dim, heads, depth)
        self.last = nn.Linear(dim * len(self.times), n)

    def forward(self, features: Features) -> Tensor:
        """Logits (B, n) of the features of all steps and blocks.

        Raises:
            ValueError: some are missing.
        """
        missing = [(t, b) for t in self.times for b in self.block_numbers if (t, b) not in features]
        if missing:
            raise ValueError(f"features: expected those of steps and blocks {missing}, found {sorted(features)}")
        vectors = [
            self.pool(torch.cat([self.tokens[str(b)](features[t, b]) for b in self.block_numbers], dim=1))
            for t in self.times
        ]
        return self.last(torch.cat(vectors, dim=1))
