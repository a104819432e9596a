"""The trained halves of ADDP: a vision transformer that sees a decoded picture, and a decoder that tells its tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.generative.addp.predictor import DROPOUT, EPS, MLMHead, init_transformer
from representation.pretraining.transformer_block import Block

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's channels."""


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of the vision transformer; the paper's base has these.

    Attributes:
        resolution: side of the pictures, pixels.
        patch: side of what becomes a token, pixels.
        width: numbers D of a token.
        depth: blocks.
        heads: of the attention.
        dropout: in training.
    """

    resolution: int = 256
    patch: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    dropout: float = DROPOUT

    def __post_init__(self) -> None:
        if self.patch < 1 or self.resolution < self.patch or self.resolution % self.patch:
            raise ValueError(f"resolution: expected a multiple of the patch {self.patch}, found {self.resolution}")

    @property
    def side(self) -> int:
        """Tokens on the side of a picture."""
        return self.resolution // self.patch


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of the token decoder, which is as wide as the encoder.

    Attributes:
        depth: blocks.
        heads: of the attention.
        dropout: in training.
        smoothing: share of the target that is spread over the whole vocabulary.
    """

    depth: int = 8
    heads: int = 16
    dropout: float = DROPOUT
    smoothing: float = 0.1


class PatchEmbedding(nn.Module):
    """A linear map of each patch."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, images: Tensor) -> Tensor:
        """Tokens (B, L, width) of pictures (B, 3, R, R)."""
        return self.proj(images).flatten(2).mT


class PictureTransformer(nn.Module):
    """Pictures to features; sees every patch.

    Args:
        config: its sizes.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.patch_embed = PatchEmbedding(config.patch, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, config.side**2 + 1, width))
        self.tokenizer_norm, self.dropout = nn.LayerNorm(width, EPS), nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            Block(width, config.heads, eps=EPS, dropout=config.dropout) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width, EPS)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)
        init_transformer(self)

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, L + 1, D), class token first, of pictures (B, 3, R, R), which are clamped to [0, 1].

        Raises:
            ValueError: another shape.
        """
        side = self.config.resolution
        if images.shape[1:] != (3, side, side):
            raise ValueError(f"x: expected (B, 3, {side}, {side}), found {tuple(images.shape)}")
        patches = self.patch_embed((images.clamp(0, 1) - self.mean) / self.deviation)
        x = torch.cat([self.cls_token.expand(len(images), -1, -1), patches], dim=1) + self.pos_embed
        x = self.dropout(self.tokenizer_norm(x))
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class TokenDecoder(nn.Module):
    """Tells masked tokens by the features of the other places and by the tokens that are there.

    Features of masked places, and of the class token, are not read: whatever the encoder knows of them must stand at
    other places. Tokens that are known follow behind the features, with positions of their own.

    Args:
        config: its sizes.
        width: of the features and of its own tokens.
        side: h = w of the grid.
        vocabulary: words that it tells apart.
    """

    def __init__(self, config: DecoderConfig, width: int, side: int, vocabulary: int) -> None:
        super().__init__()
        length = side * side + 1
        self.decoder_embed, self.mask_token = nn.Linear(width, width), nn.Parameter(torch.zeros(1, 1, width))
        self.decoder_pos_embed = nn.Parameter(torch.zeros(1, length, width))
        self.decoder_pos_mask_embed = nn.Parameter(torch.zeros(1, length, width))
        self.decoder_pos_token_embed = nn.Parameter(torch.zeros(1, length, width))
        self.token_emb = nn.Embedding(vocabulary, width)
        self.decoder_blocks = nn.ModuleList(
            Block(width, config.heads, eps=EPS, dropout=config.dropout) for _ in range(config.depth)
        )
        self.decoder_norm = nn.LayerNorm(width, EPS)
        self.mlm_layer = MLMHead(width, vocabulary)
        init_transformer(self)

    def forward(self, features: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits (B, L, V).

        Args:
            features: (B, L + 1, D), class token first.
            ids: (B, L) tokens; what stands at masked places is not read.
            mask: (B, L) bool, as many masked in each sample.

        Raises:
            ValueError: samples with more masked tokens than others.
        """
        count = (~mask).sum(1)
        if (count != count[0]).any():
            raise ValueError(f"mask: expected as many masked in each sample, found {(mask.shape[1] - count).tolist()}")
        hidden = F.pad(mask, (1, 0), value=True)[..., None]
        seen = torch.where(hidden, self.mask_token, self.decoder_embed(features))
        places = torch.where(
            F.pad(mask, (1, 0), value=False)[..., None], self.decoder_pos_mask_embed, self.decoder_pos_embed
        )
        known = (~mask).nonzero()[:, 1].view(len(mask), -1)
        tokens = self.token_emb(ids.gather(1, known)) + self.decoder_pos_token_embed[0, 1 + known]
        x = torch.cat([seen + places, tokens], dim=1)
        for block in self.decoder_blocks:
            x = block(x)
        told = self.decoder_norm(x[:, 1 : mask.shape[1] + 1])
        return self.mlm_layer(told, self.token_emb.weight)
