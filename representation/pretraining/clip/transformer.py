"""The residual attention block of CLIP's image and text transformers, with the released names of its weights."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from representation.pretraining.clip.config import Activation


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x): what the released models were trained with."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to any tensor."""
        return x * torch.sigmoid(1.702 * x)


class ResidualAttentionBlock(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)), on tokens (B, N, width)."""

    def __init__(self, width: int, heads: int, activation: Activation) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1 = nn.LayerNorm(width)
        gelu = QuickGELU() if activation == "quick_gelu" else nn.GELU()
        parts = [("c_fc", nn.Linear(width, 4 * width)), ("gelu", gelu), ("c_proj", nn.Linear(4 * width, width))]
        self.mlp = nn.Sequential(OrderedDict(parts))
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Tokens (B, N, width) to tokens; `mask` (N, N) is added to the scores."""
        h = self.ln_1(x)
        x = x + self.attn(h, h, h, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))

    def attention_of(self, x: Tensor) -> Tensor:
        """Attention (B, N, N), averaged over the heads, that the block pays on tokens (B, N, width)."""
        h = self.ln_1(x)
        return self.attn(h, h, h, need_weights=True)[1]


class Transformer(nn.Module):
    """Blocks one after the other.

    Args:
        width: of the tokens.
        layers: number of blocks.
        heads: of each block.
        activation: of each block.
        generator: draws the first weights.
    """

    def __init__(
        self, width: int, layers: int, heads: int, activation: Activation, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(ResidualAttentionBlock(width, heads, activation) for _ in range(layers))
        into, out = width**-0.5, width**-0.5 * (2 * layers) ** -0.5
        for block in self.resblocks:
            for weight, std in (
                (block.attn.in_proj_weight, into),
                (block.attn.out_proj.weight, out),
                (block.mlp.c_fc.weight, (2 * width) ** -0.5),
                (block.mlp.c_proj.weight, out),
            ):
                nn.init.normal_(weight, std=std, generator=generator)
            for bias in (block.mlp.c_fc.bias, block.mlp.c_proj.bias):
                nn.init.zeros_(bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens (B, N, width) to tokens."""
        for block in self.resblocks:
            x = block(x, mask)
        return x
