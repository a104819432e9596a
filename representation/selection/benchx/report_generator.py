"""`ReportGenerator`: a transformer that writes a report of patch features, with a relational memory in its decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from representation.selection.benchx.relational_memory import (
    SLOTS,
    ConditionalLayerNorm,
    MultiHeadAttention,
    PlainLayerNorm,
    RelationalMemory,
    draw_report_weights,
    sinusoidal_positions,
)
from representation.selection.benchx.vocabulary import END, Vocabulary

FEATURE_DROPOUT = 0.5


@dataclass(frozen=True)
class ReportSizes:
    """Sizes of a generator; the defaults are the published ones.

    Attributes:
        width: of all tokens.
        feedforward: inside the perceptrons.
        layers: of the encoder, and of the decoder.
        slots: of the memory.
        dropout: everywhere but on the features.
        longest: words of a report.
    """

    width: int = 512
    feedforward: int = 512
    layers: int = 3
    slots: int = SLOTS
    dropout: float = 0.1
    longest: int = 60


Cache = list[tuple[Tensor, Tensor]]
"""Keys and values of the words so far, of each layer of the decoder."""


class FeedForward(nn.Sequential):
    """Two linear layers."""

    def __init__(self, sizes: ReportSizes) -> None:
        super().__init__(
            nn.Linear(sizes.width, sizes.feedforward),
            nn.ReLU(),
            nn.Dropout(sizes.dropout),
            nn.Linear(sizes.feedforward, sizes.width),
        )


class EncoderLayer(nn.Module):
    """Attention among the patches, then a perceptron, each behind a norm and beside a shortcut."""

    def __init__(self, sizes: ReportSizes) -> None:
        super().__init__()
        self.norms = nn.ModuleList(PlainLayerNorm(sizes.width) for _ in range(2))
        self.attention, self.mlp = MultiHeadAttention(sizes.width, sizes.dropout), FeedForward(sizes)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, width) to tokens."""
        y = self.norms[0](x)
        x = x + self.dropout(self.attention(y, *self.attention.keys_and_values(y)))
        return x + self.dropout(self.mlp(self.norms[1](x)))


class DecoderLayer(nn.Module):
    """Attention among the words, attention to the patches, and a perceptron, behind norms that the memory changes."""

    def __init__(self, sizes: ReportSizes) -> None:
        super().__init__()
        memory_width = sizes.slots * sizes.width
        self.norms = nn.ModuleList(ConditionalLayerNorm(sizes.width, memory_width) for _ in range(3))
        self.words = MultiHeadAttention(sizes.width, sizes.dropout)
        self.patches = MultiHeadAttention(sizes.width, sizes.dropout)
        self.mlp, self.dropout = FeedForward(sizes), nn.Dropout(sizes.dropout)

    def forward(
        self, x: Tensor, memory: Tensor, source: tuple[Tensor, Tensor], past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Words (B, N, width) to words; with those of the past before them there is one new word only."""
        y = self.norms[0](x, memory)
        key, value = self.words.keys_and_values(y)
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        x = x + self.dropout(self.words(y, key, value, causal=past is None and x.shape[1] > 1))
        x = x + self.dropout(self.patches(self.norms[1](x, memory), *source))
        return x + self.dropout(self.mlp(self.norms[2](x, memory))), (key, value)


class ReportGenerator(nn.Module):
    """Writes reports.

    Args:
        vocabulary: of the reports.
        features: numbers of a patch feature.
        sizes: of the network.
        seed: of the weights.
    """

    def __init__(self, vocabulary: Vocabulary, features: int, sizes: ReportSizes | None = None, seed: int = 0) -> None:
        super().__init__()
        sizes = ReportSizes() if sizes is None else sizes
        self.vocabulary, self.sizes = vocabulary, sizes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed_features = nn.Sequential(
                nn.Linear(features, sizes.width), nn.ReLU(), nn.Dropout(FEATURE_DROPOUT)
            )
            self.encoder = nn.ModuleList(EncoderLayer(sizes) for _ in range(sizes.layers))
            self.encoder_norm = PlainLayerNorm(sizes.width)
            self.embed_words = nn.Embedding(len(vocabulary), sizes.width)
            self.memory = RelationalMemory(sizes.width, sizes.slots)
            self.decoder = nn.ModuleList(DecoderLayer(sizes) for _ in range(sizes.layers))
            self.decoder_norm = PlainLayerNorm(sizes.width)
            self.classify = nn.Linear(sizes.width, len(vocabulary))
            draw_report_weights(self)
        self.dropout = nn.Dropout(sizes.dropout)
        self.register_buffer("positions", sinusoidal_positions(sizes.longest + 1, sizes.width), persistent=False)

    def encode(self, features: Tensor) -> Cache:
        """Keys and values of patches for each layer of the decoder, from patch features (B, N, F) of all views."""
        x = self.embed_features(features)
        for layer in self.encoder:
            x = layer(x)
        x = self.encoder_norm(x)
        return [layer.patches.keys_and_values(x) for layer in self.decoder]

    def _embedded(self, words: Tensor, start: int) -> Tensor:
        x = self.embed_words(words) * self.sizes.width**0.5
        return self.dropout(x + self.positions[start : start + words.shape[1]])

    def forward(self, features: Tensor, words: Tensor) -> Tensor:
        """Log-probabilities (B, N, vocabulary) of the words that follow words (B, N), which begin with `END`."""
        sources = self.encode(features)
        # The memory reads the bare embeddings, positions and all, as the decoder does.
        x = self._embedded(words, 0)
        memory = self.memory(x)
        for layer, source in zip(self.decoder, sources, strict=True):
            x, _ = layer(x, memory, source, None)
        return self.classify(self.decoder_norm(x)).log_softmax(dim=-1)

    def loss(self, features: Tensor, words: Tensor) -> Tensor:
        """Mean negative log-likelihood of all words but the first, up to the first `END` behind them.

        Args:
            features: (B, N, F) of all views.
            words: (B, L) numbers, from `Vocabulary.encode`, filled up with `END`.
        """
        wanted = words[:, 1:]
        real = torch.cat([torch.ones_like(wanted[:, :1], dtype=torch.bool), (wanted != END)[:, :-1]], dim=1)
        likely = self(features, words[:, :-1]).gather(2, wanted[..., None])[..., 0]
        return -(likely * real).sum() / real.sum()

    @torch.no_grad()
    def generate(self, features: Tensor, beam: int = 3, block_trigrams: bool = True) -> list[list[str]]:
        """Words of the most likely report of each case, as the beam finds it; in evaluation mode.

        Args:
            features: (B, N, F) of all views.
            beam: reports of a case that are kept; 1 takes the likeliest word each time.
            block_trigrams: whether no three words may follow each other twice.
        """
        self.eval()
        search = _Beam(len(features), beam, features.device)
        sources = [
            (key.repeat_interleave(beam, dim=0), value.repeat_interleave(beam, dim=0))
            for key, value in self.encode(features)
        ]
        memory = self.memory.initial(len(features) * beam)
        past: list[tuple[Tensor, Tensor] | None] = [None] * len(self.decoder)
        last = torch.full((len(features) * beam, 1), END, device=features.device)
        for place in range(self.sizes.longest):
            x = self._embedded(last, place)
            memory = self.memory.step(x[:, 0], memory)
            for number, (layer, source) in enumerate(zip(self.decoder, sources, strict=True)):
                x, past[number] = layer(x, memory.flatten(1)[:, None], source, past[number])
            scores = self.classify(self.decoder_norm(x))[:, 0].log_softmax(dim=-1)
            origin, last = search.grow(scores, block_trigrams)
            memory = memory[origin]
            past = [(key[origin], value[origin]) for key, value in past]
            if search.finished:
                break
        return [self.vocabulary.decode(words) for words in search.best()]


class _Beam:
    """The likeliest beginnings of each case's report."""

    def __init__(self, count: int, width: int, device: torch.device) -> None:
        if width < 1:
            raise ValueError(f"beam: expected at least 1, found {width}")
        self._count, self._width = count, width
        # All but one are impossible at first, or all would be the same.
        self._scores = torch.full((count, width), -torch.inf, device=device)
        self._scores[:, 0] = 0.0
        self._words: list[list[int]] = [[] for _ in range(count * width)]
        self._ended = torch.zeros(count * width, dtype=torch.bool, device=device)

    @property
    def finished(self) -> bool:
        """Whether all reports have ended."""
        return bool(self._ended.all())

    def grow(self, scores: Tensor, block_trigrams: bool) -> tuple[Tensor, Tensor]:
        """Take a word more; returns from which row (B * width,) each beginning comes, and its last word (…, 1)."""
        scores = scores.clone()
        if block_trigrams:
            for row, words in enumerate(self._words):
                scores[row, repeating(words)] = -torch.inf
        scores[self._ended] = -torch.inf
        scores[self._ended, END] = 0.0  # what has ended stays as it is
        size = scores.shape[1]
        totals = (self._scores.flatten()[:, None] + scores).view(self._count, -1)
        self._scores, places = totals.topk(self._width, dim=1)
        first = torch.arange(self._count, device=scores.device)[:, None] * self._width
        origin, last = (first + places // size).flatten(), (places % size).flatten()
        self._words = [
            self._words[row] + ([] if ended else [word])
            for row, word, ended in zip(origin.tolist(), last.tolist(), self._ended[origin].tolist(), strict=True)
        ]
        self._ended = self._ended[origin] | (last == END)
        return origin, last[:, None]

    def best(self) -> list[list[int]]:
        """Words of the likeliest of each case, summed log-probabilities as they are."""
        places = self._scores.argmax(dim=1).tolist()
        return [self._words[case * self._width + place] for case, place in enumerate(places)]


def repeating(words: Sequence[int]) -> list[int]:
    """Words that would make the last three words ones that have followed each other before."""
    pair = tuple(words[-2:])
    return (
        [words[at + 2] for at in range(len(words) - 2) if tuple(words[at : at + 2]) == pair] if len(pair) == 2 else []
    )
