"""The multimodal feature injection encoder: two Q-Formers, of what is seen and of what is said, and their fusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.pretraining.transformer_block import MLP, Attention


@dataclass(frozen=True)
class SubjectCodes:
    """What stands for subjects, a row for each picture.

    Attributes:
        cls_v: (B, d) meaning of what is seen.
        cls_t: (B, d) meaning of what is said; None where nothing was.
        codes: (B, K, d) of each layer that they are injected into, coarse layers first (the space S+).
    """

    cls_v: Tensor
    cls_t: Tensor | None
    codes: Tensor

    def vectors(self, scales: int) -> Tensor:
        """Retrieval vectors (B, (1 + scales) d): the CLS and the mean code of each scale, all of unit length."""
        means = self.codes.unflatten(1, (scales, -1)).mean(dim=2)
        return F.normalize(torch.cat([self.cls_v[:, None], means], dim=1), dim=2).flatten(1)


def mean_codes(codes: Tensor) -> Tensor:
    """Codes (K, d) of one subject of its R references (R, K, d): their mean, as long as they are in the mean.

    Raises:
        ValueError: other shapes, or no reference.
    """
    if codes.ndim != 3 or not len(codes):
        raise ValueError(f"codes: expected (R, K, d) of at least one reference, found {tuple(codes.shape)}")
    return F.normalize(codes.mean(dim=0), dim=1) * codes.norm(dim=2).mean(dim=0)[:, None]


class CrossAttention(nn.Module):
    """Queries (B, Q, width) ask tokens (B, N, width)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.kv, self.proj = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, queries: Tensor, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Answers (B, Q, width); `mask` (B, N) is true where there is a token."""
        q = self.q(queries).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(tokens).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = None if mask is None else mask[:, None, None]
        return self.proj(F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).flatten(2))


class QFormerBlock(nn.Module):
    """Self-attention of the queries, cross-attention to the tokens and an MLP, each on normed inputs and added.

    Args:
        width: of queries and tokens.
        heads: of the attention.
        with_queries: whether the queries stand among the tokens that are asked, as in a perceiver.
    """

    def __init__(self, width: int, heads: int, with_queries: bool) -> None:
        super().__init__()
        self.norm_self, self.self_attention = nn.LayerNorm(width), Attention(width, heads, qkv_bias=True)
        self.norm_cross, self.cross_attention = nn.LayerNorm(width), CrossAttention(width, heads)
        self.norm_mlp, self.mlp = nn.LayerNorm(width), MLP(width)
        self.with_queries = with_queries

    def forward(self, queries: Tensor, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Queries (B, Q, width) to queries; `mask` (B, N) is true where there is a token."""
        queries = queries + self.self_attention(self.norm_self(queries), None)
        asked = self.norm_cross(queries)
        if self.with_queries:
            tokens = torch.cat([tokens, asked], dim=1)
            mask = None if mask is None else F.pad(mask, (0, asked.shape[1]), value=True)
        queries = queries + self.cross_attention(asked, tokens, mask)
        return queries + self.mlp(self.norm_mlp(queries))


class QFormer(nn.Module):
    """Learned queries that gather what tokens tell.

    Args:
        queries: number of them, the CLS first.
        width: of queries and tokens.
        depth: blocks.
        heads: of the attention.
        with_queries: see `QFormerBlock`.
    """

    def __init__(self, queries: int, width: int, depth: int, heads: int, with_queries: bool = False) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, width) * 0.02)
        self.blocks = nn.ModuleList(QFormerBlock(width, heads, with_queries) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Queries (B, Q, width) that saw tokens (B, N, width); `mask` (B, N) is true where there is one."""
        queries = self.queries.expand(len(tokens), -1, -1)
        for block in self.blocks:
            queries = block(queries, tokens, mask)
        return self.norm(queries)


class Fusion(nn.Module):
    """Adds to the visual codes what the textual tokens tell, through a gate that is closed at first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_v, self.norm_t = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.gate = CrossAttention(width, heads), nn.Parameter(torch.zeros(()))

    def forward(self, codes: Tensor, text: Tensor, told: Tensor) -> Tensor:
        """Codes (B, K, width) with textual tokens (B, T, width), in the rows (B,) where something is told."""
        answer = self.attention(self.norm_v(codes), self.norm_t(text))
        return codes + self.gate.tanh() * answer * told[:, None, None]


class MFIEncoder(nn.Module):
    """Subject codes of what layers of an image encoder saw, and of a phrase.

    The CLS of the pictures sees no text: it is what the text is contrasted with.

    Args:
        vision_dim: numbers Dv of a visual token.
        text_dim: numbers Dt of a token of text.
        width: numbers d of a code.
        n_scales: groups of codes, from coarse to fine.
        codes_per_scale: of each group.
        depth: blocks of both Q-Formers.
        heads: of all attention.
        vision_layers: of the image encoder that are looked at, shallow ones first.
    """

    def __init__(
        self,
        vision_dim: int,
        text_dim: int,
        width: int = 256,
        n_scales: int = 4,
        codes_per_scale: int = 4,
        depth: int = 4,
        heads: int = 8,
        vision_layers: int = 4,
    ) -> None:
        super().__init__()
        if min(vision_dim, text_dim, width, n_scales, codes_per_scale, depth, heads, vision_layers) < 1:
            raise ValueError("sizes of an MFIEncoder: expected at least 1 each, found a smaller one")
        self.n_scales, self.codes_per_scale = n_scales, codes_per_scale
        self.vision_dim, self.text_dim = vision_dim, text_dim
        count = 1 + n_scales * codes_per_scale
        self.from_layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(vision_dim), nn.Linear(vision_dim, width)) for _ in range(vision_layers)
        )
        self.layer_embedding = nn.Parameter(torch.randn(vision_layers, width) * 0.02)
        self.from_text = nn.Sequential(nn.LayerNorm(text_dim), nn.Linear(text_dim, width))
        self.visual = QFormer(count, width, depth, heads)
        self.textual = QFormer(count, width, depth, heads, with_queries=True)
        self.fusion = Fusion(width, heads)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
                nn.init.zeros_(part.bias)

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Numbers of the codes of each scale."""
        each = self.codes_per_scale
        return tuple(tuple(range(scale * each, (scale + 1) * each)) for scale in range(self.n_scales))

    def forward(
        self,
        vision_layers: Sequence[Tensor],
        text: Tensor | None = None,
        text_mask: Tensor | None = None,
        fused: Tensor | None = None,
        phrase_of: Tensor | None = None,
    ) -> SubjectCodes:
        """Codes of B pictures.

        Args:
            vision_layers: tokens (B, N, Dv) of each layer.
            text: tokens (B, T, Dt) of a phrase for each; None without any.
            text_mask: (B, T), true where there is a token; all of them if None.
            fused: (B,), false where codes shall not hear the phrase; so it is where a phrase has no token.
            phrase_of: (B,) number of the phrase of each picture, where several have one: there are then as many rows of
                `text` and `text_mask` as phrases.

        Raises:
            ValueError: shapes that do not fit, or numbers that are not finite; names them.
        """
        rows = len(vision_layers[0]) if vision_layers else 0
        if len(vision_layers) != len(self.from_layers):
            raise ValueError(f"vision_layers: expected {len(self.from_layers)}, found {len(vision_layers)}")
        for number, layer in enumerate(vision_layers):
            _check_tokens(f"vision_layers[{number}]", layer, rows, self.vision_dim)
        seen = torch.cat(
            [
                project(layer) + own
                for project, layer, own in zip(self.from_layers, vision_layers, self.layer_embedding, strict=True)
            ],
            dim=1,
        )
        visual = self.visual(seen)
        cls_v, codes = visual[:, 0], visual[:, 1:]
        if text is None:
            return SubjectCodes(cls_v, None, codes)
        _check_tokens("text", text, rows if phrase_of is None else len(text), self.text_dim)
        mask = torch.ones(text.shape[:2], dtype=torch.bool, device=text.device) if text_mask is None else text_mask
        if mask.shape != text.shape[:2]:
            raise ValueError(f"text_mask: expected {tuple(text.shape[:2])}, found {tuple(mask.shape)}")
        textual = self.textual(self.from_text(text), mask)
        told = mask.any(dim=1)
        if phrase_of is not None:
            textual, told = textual[phrase_of], told[phrase_of]
        told = told if fused is None else told & fused
        return SubjectCodes(cls_v, textual[:, 0], self.fusion(codes, textual[:, 1:], told))


def _check_tokens(name: str, tokens: Tensor, rows: int, width: int) -> None:
    if tokens.ndim != 3 or len(tokens) != rows or tokens.shape[2] != width:
        raise ValueError(f"{name}: expected ({rows}, N, {width}), found {tuple(tokens.shape)}")
    if not torch.isfinite(tokens).all():
        raise ValueError(f"{name}: expected finite numbers, found others")
