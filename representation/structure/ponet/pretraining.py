"""PoNet learns from texts without labels: which tokens were hidden, and in which order two parts stand.

Source: Tan et al., ICLR 2022 (arXiv 2110.02442), masked language modelling and sentence structural objective. A chunk,
which is a list of sentences of tokens, is cut into two parts A and B, and becomes [CLS] A [SEP] B [SEP]; in a third of
the cases A and B change places, in another third B is that of another chunk. Each sentence and each mark is a segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.rnn import pad_sequence

from representation.structure.ponet.encoder import INIT_STD, PoNetEncoder, marked_segments

PAD, CLS, SEP, MASK = range(4)  # tokens; those of texts begin after them
MARKS = 4
ORDERS = ("in order", "swapped", "from another chunk")
HIDDEN, MASKED, REPLACED = 0.15, 0.8, 0.1
IGNORED = -100  # target of a token that was not hidden

Chunk = Sequence[Sequence[int]]


@dataclass(frozen=True)
class TextPairs:
    """Pairs of parts, B texts of up to N tokens.

    Attributes:
        tokens: (B, N).
        segments: (B, N), from 0.
        present: (B, N), false where a text has ended.
        orders: (B,) places in `ORDERS`.
    """

    tokens: Tensor
    segments: Tensor
    present: Tensor
    orders: Tensor

    @property
    def marks(self) -> Tensor:
        """(B, N), true at [CLS] and [SEP]."""
        return (self.tokens == CLS) | (self.tokens == SEP)


def ordered_pairs(chunks: Sequence[Chunk], rows: Sequence[int], generator: torch.Generator) -> TextPairs:
    """A pair of each of some chunks.

    Args:
        chunks: at least two, of at least two sentences each.
        rows: places of those that pairs are made of.
        generator: draws the cuts, the orders, and other chunks.

    Raises:
        ValueError: a single chunk, or a single sentence; an empty one; a token of a mark.
    """
    if len(chunks) < 2:
        raise ValueError(f"chunks: expected at least 2, found {len(chunks)}")
    texts, starts = [], []
    orders = torch.randint(len(ORDERS), (len(rows),), generator=generator)
    for row, order in zip(rows, orders.tolist(), strict=True):
        first, second = _cut(chunks[row], generator)
        if order == 1:
            first, second = second, first
        elif order == 2:
            other = (row + 1 + int(torch.randint(len(chunks) - 1, (), generator=generator))) % len(chunks)
            second = _cut(chunks[other], generator)[1]
        parts = [[[CLS]], first, [[SEP]], second, [[SEP]]]
        texts.append(torch.tensor([token for part in parts for sentence in part for token in sentence]))
        starts.append(torch.tensor([place == 0 for part in parts for s in part for place in range(len(s))]))
    tokens = pad_sequence(texts, batch_first=True, padding_value=PAD)
    segments = marked_segments((tokens == CLS) | (tokens == SEP), pad_sequence(starts, batch_first=True))
    return TextPairs(tokens, segments, tokens != PAD, orders)


def _cut(chunk: Chunk, generator: torch.Generator) -> tuple[Chunk, Chunk]:
    if len(chunk) < 2 or min((min(sentence, default=0) for sentence in chunk), default=0) < MARKS:
        raise ValueError(f"chunk: expected at least 2 sentences of tokens from {MARKS}, found {list(chunk)!r:.100}")
    place = int(torch.randint(1, len(chunk), (), generator=generator))
    return chunk[:place], chunk[place:]


def hide_tokens(pairs: TextPairs, vocab: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Hide 15 % of the tokens that are no marks: 80 % of these become [MASK], 10 % another token, 10 % stay.

    Args:
        pairs: stay as they are.
        vocab: tokens there are, with marks.
        generator: draws.

    Returns:
        Tokens (B, N), and targets (B, N): the hidden tokens, `IGNORED` elsewhere.
    """
    shape = pairs.tokens.shape
    hidden = pairs.present & ~pairs.marks & (torch.rand(shape, generator=generator) < HIDDEN)
    kind = torch.rand(shape, generator=generator)
    others = torch.randint(MARKS, vocab, shape, generator=generator)
    shown = pairs.tokens.masked_fill(hidden & (kind < MASKED), MASK)
    shown = torch.where(hidden & (kind >= MASKED) & (kind < MASKED + REPLACED), others, shown)
    return shown, pairs.tokens.masked_fill(~hidden, IGNORED)


class PoNetForPretraining(nn.Module):
    """An encoder of tokens with heads for hidden tokens and for the order of two parts.

    Args:
        encoder: of tokens, marks among them; its embedding also reads the tokens out.
    """

    def __init__(self, encoder: PoNetEncoder) -> None:
        super().__init__()
        if encoder.config.vocab <= MARKS:
            raise ValueError(f"encoder: expected more than {MARKS} tokens, found {encoder.config.vocab}")
        self.encoder, dim = encoder, encoder.width
        self.transform = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim))
        self.bias = nn.Parameter(torch.zeros(encoder.config.vocab))
        self.pooler = nn.Sequential(nn.Linear(dim, dim), nn.Tanh())
        self.order = nn.Linear(dim, len(ORDERS))
        nn.init.normal_(self.order.weight, std=INIT_STD)

    def forward(self, tokens: Tensor, segments: Tensor, present: Tensor, marks: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of tokens (B, N, vocab) and of orders (B, 3), the latter of the first token, [CLS].

        Args:
            tokens: (B, N).
            segments: (B, N), from 0.
            present: (B, N), false where a text has ended.
            marks: (B, N), true at [CLS] and [SEP], which see the whole text alone.
        """
        features, _ = self.encoder(tokens, segments, present, marks)
        words = self.transform(features) @ self.encoder.embed.weight.T + self.bias
        return words, self.order(self.pooler(features[:, 0]))

    def loss(self, pairs: TextPairs, generator: torch.Generator) -> Tensor:
        """Cross-entropy of the tokens that are hidden here, plus that of the orders."""
        shown, targets = hide_tokens(pairs, self.encoder.config.vocab, generator)
        words, orders = self(shown, pairs.segments, pairs.present, pairs.marks)
        hidden = targets != IGNORED
        told = F.cross_entropy(words[hidden], targets[hidden], reduction="sum") / hidden.sum().clamp(min=1)
        return told + F.cross_entropy(orders, pairs.orders)
