"""`MessageTranslator`: messages into the words of labels, by a small network with attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

HIDDEN, EPOCHS, BATCH, LR = 64, 30, 32, 1e-3
PAD, START, END = 0, 1, 2
SPECIAL = 3
LONGEST = 16  # words


class MessageTranslator(nn.Module):
    """Reads all symbols, then says word after word and looks at the symbols each time (Luong et al., arXiv 1508.04025).

    Args:
        vocab_in: number V of symbols.
        vocab_out: all words that labels are made of.
        seed: of weights and batches.
    """

    def __init__(self, vocab_in: int, vocab_out: Sequence[str], seed: int = 0) -> None:
        super().__init__()
        self._words, self._seed = list(vocab_out), seed
        count = len(self._words) + SPECIAL
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.symbols, self.words = nn.Embedding(vocab_in, HIDDEN), nn.Embedding(count, HIDDEN)
            self.encoder, self.decoder = (nn.GRU(HIDDEN, HIDDEN, batch_first=True) for _ in range(2))
            self.out = nn.Linear(2 * HIDDEN, count)

    def forward(self, ids: Tensor, words: Tensor) -> Tensor:
        """Logits (B, W, words) of the next word after each of words (B, W), given messages (B, L)."""
        heard, state = self.encoder(self.symbols(ids))
        said, _ = self.decoder(self.words(words), state)
        looked = (said @ heard.mT).softmax(dim=2) @ heard
        return self.out(torch.cat([said, looked], dim=2))

    def fit(self, ids: ArrayLike, labels: Sequence[str]) -> MessageTranslator:
        """Learn from messages (N, L) with labels of one or more words.

        Raises:
            ValueError: an unknown word.
        """
        messages, sentences = torch.as_tensor(ids), [self._numbers(label) for label in labels]
        width = max(map(len, sentences))
        words = torch.tensor([one + [PAD] * (width - len(one)) for one in sentences])
        generator = torch.Generator().manual_seed(self._seed)
        optimizer = torch.optim.Adam(self.parameters(), lr=LR)
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(messages), generator=generator).split(BATCH):
                logits = self(messages[rows], words[rows, :-1])
                loss = F.cross_entropy(logits.flatten(0, 1), words[rows, 1:].flatten(), ignore_index=PAD)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return self

    @torch.no_grad()
    def predict(self, ids: ArrayLike) -> list[str]:
        """Labels of messages (N, L): the most likely word at each step."""
        messages = torch.as_tensor(ids)
        words = torch.full((len(messages), 1), START)
        for _ in range(LONGEST):
            words = torch.cat([words, self(messages, words)[:, -1:].argmax(dim=2)], dim=1)
            if (words == END).any(dim=1).all():
                break
        return [self._phrase(row) for row in words[:, 1:].tolist()]

    def _numbers(self, label: str) -> list[int]:
        unknown = sorted(set(label.split()) - set(self._words))
        if unknown:
            raise ValueError(f"labels: expected words of {self._words[:20]}, found {unknown}")
        return [START, *(self._words.index(word) + SPECIAL for word in label.split()), END]

    def _phrase(self, numbers: list[int]) -> str:
        until = numbers.index(END) if END in numbers else len(numbers)
        return " ".join(self._words[number - SPECIAL] for number in numbers[:until] if number >= SPECIAL)
