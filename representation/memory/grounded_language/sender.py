"""`SymbolSender`: a picture to a sequence of symbols."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from representation.memory.grounded_language.message import Message, chosen, gumbel_noise

EMBEDDING, END = 32, 0


class SymbolSender(nn.Module):
    """What a picture looks like begins a recurrent network, which says a symbol at each step.

    In training symbols are drawn, else they are the most likely ones.

    Args:
        vision: pictures (B, C, H, W) to vectors (B, hidden); with `maps` and `head`, see `PictureNet`, for Grad-CAM.
        hidden: numbers of the network's state.
        vocab_size: number V of symbols.
        max_len: number L of symbols of a message.
        temperature: of the draws.
        straight_through: whether messages are one-hot in training; soft ones say more than symbols can.
        end_symbol: whether symbol 0 ends a message: what follows is 0, too.
    """

    def __init__(
        self,
        vision: nn.Module,
        hidden: int,
        vocab_size: int,
        max_len: int,
        temperature: float = 1.0,
        straight_through: bool = True,
        end_symbol: bool = False,
    ) -> None:
        super().__init__()
        if vocab_size < 2 or max_len < 1 or temperature <= 0:
            raise ValueError(
                "vocab_size, max_len, temperature: expected at least 2, at least 1 and above 0, found "
                f"{vocab_size}, {max_len} and {temperature}"
            )
        self.vision, self.vocab_size, self.max_len = vision, vocab_size, max_len
        self.temperature, self.straight_through, self.end_symbol = temperature, straight_through, end_symbol
        self.start = nn.Parameter(torch.zeros(EMBEDDING))
        self.cell = nn.GRUCell(EMBEDDING, hidden)
        self.logits = nn.Linear(hidden, vocab_size)
        self.embedding = nn.Linear(vocab_size, EMBEDDING)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Message:
        """What is said of pictures (B, C, H, W).

        Args:
            x: the pictures.
            noise: (B, L, V) of `gumbel_noise`, for training only; drawn anew if None.
        """
        if not self.training:
            return self.speak(self.vision(x))
        return self.speak(
            self.vision(x), gumbel_noise((len(x), self.max_len, self.vocab_size)) if noise is None else noise
        )

    def speak(self, state: Tensor, noise: Tensor | None = None) -> Message:
        """What is said from first states (B, hidden); without noise (B, L, V) the most likely symbols."""
        entry, symbols, logits = self.start.expand(len(state), -1), [], []
        ended = torch.zeros(len(state), 1, dtype=torch.bool, device=state.device)
        for step in range(self.max_len):
            state = self.cell(entry, state)
            logits.append(self.logits(state))
            draw = None if noise is None else noise[:, step]
            symbol = chosen(logits[-1], draw, self.temperature, self.straight_through)
            if self.end_symbol:
                end = torch.zeros_like(symbol)
                end[:, END] = 1.0
                symbol = torch.where(ended, end, symbol)
                ended = ended | (symbol.argmax(dim=1, keepdim=True) == END)
            symbols.append(symbol)
            entry = self.embedding(symbol)
        onehot = torch.stack(symbols, dim=1)
        return Message(onehot, onehot.argmax(dim=2), torch.stack(logits, dim=1))
