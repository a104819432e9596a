"""A vision transformer with the names of weights that timm uses, as a backend: ViT-B/16 by default."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.pretraining.transformer_block import Block
from representation.selection.benchx.backends import spread_blocks, tokens_to_map


@dataclass(frozen=True)
class VisionTransformerConfig:
    """Sizes of a vision transformer.

    Attributes:
        resolution: side of the pictures that the position embeddings are for, pixels.
        patch: side of a patch, pixels.
        width: of the tokens.
        depth: blocks.
        heads: of each block's attention.
        drop_path: share of the pictures for which the last block is left out in training; earlier ones less.
    """

    resolution: int = 224
    patch: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        if self.resolution % self.patch or not 0 <= self.drop_path < 1:
            raise ValueError(
                f"resolution, drop_path: expected a multiple of {self.patch} and in [0, 1), found {self.resolution} "
                f"and {self.drop_path}"
            )


class PatchEmbedding(nn.Module):
    """Patches as tokens."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) to maps (B, width, h, w)."""
        return self.proj(images)


class VisionTransformerBackend(nn.Module):
    """A `FeatureBackend` that gives all tokens, the class token first.

    Args:
        config: its sizes.
        seed: of its first weights.
    """

    def __init__(self, config: VisionTransformerConfig, seed: int = 0) -> None:
        super().__init__()
        self.config, self.embed_dim = config, config.width
        places = (config.resolution // config.patch) ** 2
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.patch_embed = PatchEmbedding(config.patch, config.width)
            self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, config.width))
            self.pos_embed = nn.Parameter(0.02 * torch.randn(1, places + 1, config.width))
            self.blocks = nn.ModuleList(Block(config.width, config.heads, eps=1e-6) for _ in range(config.depth))
            self.norm = nn.LayerNorm(config.width, eps=1e-6)

    def _positions(self, height: int, width: int) -> Tensor:
        """Position embeddings (1, 1 + h w, D) of another number of patches, by bicubic interpolation."""
        first, others = self.pos_embed[:, :1], tokens_to_map(self.pos_embed)
        if others.shape[-2:] == (height, width):
            return self.pos_embed
        others = F.interpolate(others, (height, width), mode="bicubic", align_corners=False)
        return torch.cat([first, others.flatten(2).transpose(1, 2)], dim=1)

    def _states(self, images: Tensor) -> tuple[list[Tensor], tuple[int, int]]:
        patches = self.patch_embed(images)
        sides = (patches.shape[2], patches.shape[3])
        x = torch.cat([self.cls_token.expand(len(images), 1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        x, states = x + self._positions(*sides), []
        for number, block in enumerate(self.blocks):
            x = block(x, gains=self._gains(number, x))
            states.append(x)
        return states, sides

    def _gains(self, number: int, x: Tensor) -> Tensor | None:
        share = self.config.drop_path * number / max(1, len(self.blocks) - 1)
        if not self.training or share == 0:
            return None
        return F.dropout(x.new_ones(len(x), 2), share)

    def forward_features(self, images: Tensor) -> Tensor:
        """Tokens (B, 1 + N, D) of pictures (B, 3, H, W), whose sides are multiples of a patch's."""
        return self.norm(self._states(images)[0][-1])

    def feature_pyramid(self, images: Tensor) -> list[Tensor]:
        """Maps (B, D, h, w) of four blocks, all of one size."""
        states, sides = self._states(images)
        return [states[place][:, 1:].transpose(1, 2).unflatten(2, sides) for place in spread_blocks(self.config.depth)]
