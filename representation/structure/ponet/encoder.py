"""PoNet's mixer, block and encoder: `segment_max`, `PoolingMixer`, `PoNetBlock`, `PoNetEncoder`, in this order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.checkpoint import load_weights, read_config, save_encoder

SYSTEM = "ponet"
Norm = Literal["post", "pre"]
INIT_STD = 0.02


def chunk_ids(length: int, segments: int) -> Tensor:
    """Segment (length,) of each step where a sequence is cut into equal pieces of `length // segments + 1` steps.

    The rule is that of the published code; it may make fewer pieces than asked.
    """
    return torch.arange(length) // (length // segments + 1)


def marked_segments(special: Tensor, starts: Tensor | None = None) -> Tensor:
    """Segments of a text: each mark is one of its own, and so is each sentence between marks.

    Args:
        special: (B, N), true at marks such as [CLS] and [SEP].
        starts: (B, N), true where a sentence begins; a sentence reaches from mark to mark if left out.

    Returns:
        (B, N), from 0 and rising.
    """
    begins = special.clone() if starts is None else special | starts
    begins[:, 1:] |= special[:, :-1]
    begins[:, 0] = False
    return begins.cumsum(dim=1)


def segment_max(x: Tensor, ids: Tensor) -> Tensor:
    """Largest values of each segment, at each of its steps.

    Args:
        x: (B, N, D); -inf is never the largest unless it is alone.
        ids: (B, N) segments, from 0.

    Returns:
        (B, N, D).
    """
    index = ids[..., None].expand_as(x)
    segments = x.new_full((x.shape[0], int(ids.max()) + 1, x.shape[2]), -torch.inf)
    return segments.scatter_reduce(1, index, x, "amax").gather(1, index)


class PoolingMixer(nn.Module):
    """Mixes the steps of a sequence.

    Args:
        dim: numbers D of a step.
        heads: parts of them, each with a query of its own.
        window: steps whose largest values are added; odd.
    """

    def __init__(self, dim: int, heads: int, window: int = 3) -> None:
        super().__init__()
        if dim % heads or window % 2 == 0:
            raise ValueError(f"dim, window: expected a multiple of {heads} and an odd number, found {dim}, {window}")
        self.heads, self.window = heads, window
        self.query, self.key, self.fusion = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.local, self.segment = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(
        self, x: Tensor, segment_ids: Tensor | None = None, mask: Tensor | None = None, special: Tensor | None = None
    ) -> Tensor:
        """Mixed steps (B, N, D).

        Args:
            x: (B, N, D).
            segment_ids: (B, N), from 0; one segment if left out.
            mask: (B, N), true where there is a step; the others are zero in the end and change nothing.
            special: (B, N), true at steps that mark something: they see the whole sequence alone, and no neighbour
                sees them.
        """
        batch, length, _ = x.shape
        present = x.new_ones(batch, length, dtype=torch.bool) if mask is None else mask
        ids = present.new_zeros(batch, length, dtype=torch.long) if segment_ids is None else segment_ids
        marks = torch.zeros_like(present) if special is None else special
        shown = present[..., None]
        near = self.local(x).masked_fill(~shown | marks[..., None], -torch.inf)
        pooled = F.max_pool1d(near.transpose(1, 2), self.window, 1, self.window // 2).transpose(1, 2)
        inside = segment_max(self.segment(x).masked_fill(~shown, -torch.inf), ids)
        plain = shown & ~marks[..., None]
        pooled, inside = (torch.where(plain, part, 0.0) for part in (pooled, inside))
        return torch.where(shown, (self._global(x, present) + inside) * self.fusion(x) + pooled, 0.0)

    def _global(self, x: Tensor, present: Tensor) -> Tensor:
        """What the mean query of each head finds in the whole sequence, (B, 1, D)."""
        batch, length, dim = x.shape
        query, key = (layer(x).view(batch, length, self.heads, -1) for layer in (self.query, self.key))
        shown = present[..., None, None]
        mean = (query * shown).sum(dim=1) / present.sum(dim=1).clamp(min=1)[:, None, None]
        score = torch.einsum("bhc,bnhc->bnh", mean, key) / key.shape[-1] ** 0.5
        score = score.masked_fill(~present[..., None], torch.finfo(score.dtype).min)
        return torch.einsum("bnh,bnhc->bhc", score.softmax(dim=1), key).reshape(batch, 1, dim)


class PoNetBlock(nn.Module):
    """A mixer and a network for each step, with residuals; norms after them as in BERT, or before.

    Args:
        mixer: maps (x, segment_ids, mask, special) to mixed steps.
        dim: D.
        ff_mult: how much wider the network inside is.
        norm: where the norms are.
        dropout: share of values that training leaves out.
    """

    def __init__(self, mixer: nn.Module, dim: int, ff_mult: int = 4, norm: Norm = "post", dropout: float = 0.1) -> None:
        super().__init__()
        self.mixer, self.norm = mixer, norm
        self.output, self.dropout = nn.Linear(dim, dim), nn.Dropout(dropout)
        self.norm_mix, self.norm_ff = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.ff = nn.Sequential(nn.Linear(dim, ff_mult * dim), nn.GELU(), nn.Linear(ff_mult * dim, dim))

    def forward(self, x: Tensor, segment_ids: Tensor, mask: Tensor, special: Tensor | None = None) -> Tensor:
        """Steps (B, N, D), see `PoolingMixer`."""
        if self.norm == "pre":
            x = x + self.dropout(self.output(self.mixer(self.norm_mix(x), segment_ids, mask, special)))
            return x + self.dropout(self.ff(self.norm_ff(x)))
        x = self.norm_mix(x + self.dropout(self.output(self.mixer(x, segment_ids, mask, special))))
        return self.norm_ff(x + self.dropout(self.ff(x)))


@dataclass(frozen=True)
class PoNetConfig:
    """Sizes.

    Attributes:
        in_features: F of each step; 0 where steps are tokens.
        vocab: tokens there are; 0 where steps are features.
        dim: numbers D of a step inside.
        layers: blocks.
        heads: queries.
        max_len: longest sequence.
        segments: pieces that a sequence is cut into where no segments are given.
        ff_mult: how much wider the networks inside are.
        norm: where the norms are.
        dropout: share of values that training leaves out.
    """

    in_features: int = 0
    vocab: int = 0
    dim: int = 64
    layers: int = 2
    heads: int = 2
    max_len: int = 4096
    segments: int = 64
    ff_mult: int = 4
    norm: Norm = "pre"
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if (self.in_features > 0) == (self.vocab > 0):
            raise ValueError(f"in_features, vocab: expected one of them, found {self.in_features} and {self.vocab}")
        if self.norm not in get_args(Norm):
            raise ValueError(f"norm: expected one of {', '.join(get_args(Norm))}, found {self.norm!r}")


class PoNetEncoder(nn.Module):
    """Features of each step of a sequence, and a vector of all.

    Args:
        config: its sizes.
        mixer: makes the mixer of a block; another one is there to compare with.
    """

    def __init__(self, config: PoNetConfig, mixer: Callable[[int, int], nn.Module] = PoolingMixer) -> None:
        super().__init__()
        self.config, self.width = config, config.dim
        self.embed = (
            nn.Embedding(config.vocab, config.dim) if config.vocab else nn.Linear(config.in_features, config.dim)
        )
        self.positions = nn.Parameter(INIT_STD * torch.randn(config.max_len, config.dim))
        self.norm = nn.LayerNorm(config.dim)  # of the sum with the positions if "post", of the result if "pre"
        self.blocks = nn.ModuleList(
            PoNetBlock(mixer(config.dim, config.heads), config.dim, config.ff_mult, config.norm, config.dropout)
            for _ in range(config.layers)
        )
        if config.vocab:
            nn.init.normal_(self.embed.weight, std=INIT_STD)

    def forward(
        self,
        steps: Tensor,
        segment_ids: Tensor | None = None,
        mask: Tensor | None = None,
        special: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Features (B, N, D) and their mean (B, D) over what is there.

        Args:
            steps: features (B, N, F) or tokens (B, N).
            segment_ids: (B, N), from 0; equal pieces if left out.
            mask: (B, N), true where there is a step; everywhere if left out.
            special: see `PoolingMixer`.

        Raises:
            ValueError: longer than `max_len`.
        """
        batch, length = steps.shape[:2]
        if length > self.config.max_len:
            raise ValueError(f"steps: expected at most {self.config.max_len}, found {length}")
        present = torch.ones(batch, length, dtype=torch.bool, device=steps.device) if mask is None else mask
        if segment_ids is None:
            segment_ids = chunk_ids(length, self.config.segments).to(steps.device).expand(batch, -1)
        x = self.embed(steps) + self.positions[:length]
        x = self.norm(x) if self.config.norm == "post" else x
        for block in self.blocks:
            x = block(x, segment_ids, present, special)
        x = self.norm(x) if self.config.norm == "pre" else x
        x = torch.where(present[..., None], x, 0.0)
        return x, x.sum(dim=1) / present.sum(dim=1, keepdim=True).clamp(min=1)

    def save(self, directory: Path) -> None:
        """Write what `registry.load_model` reads."""
        save_encoder(self, SYSTEM, asdict(self.config), directory)


def load(directory: Path) -> PoNetEncoder:
    """Read what `PoNetEncoder.save` wrote.

    Raises:
        ValueError: damaged.
    """
    found = read_config(directory)["config"]
    try:
        encoder = PoNetEncoder(PoNetConfig(**found))
    except TypeError as error:
        raise ValueError(f"{directory}: expected the fields of PoNetConfig, found {found!r:.200}") from error
    load_weights(encoder, directory)
    return encoder.eval()
