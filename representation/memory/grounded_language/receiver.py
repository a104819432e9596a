"""`SymbolReceiver`: which of some pictures a message is about."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.memory.grounded_language.message import Message
from representation.memory.grounded_language.sender import EMBEDDING


class SymbolReceiver(nn.Module):
    """Compares what a recurrent network makes of a message with what it sees of pictures, by cosine.

    Args:
        vision: pictures (n, C, H, W) to vectors (n, hidden); its own, not the sender's.
        hidden: numbers of the network's state.
        vocab_size: number V of symbols.
        temperature: that divides the cosines.
    """

    def __init__(self, vision: nn.Module, hidden: int, vocab_size: int, temperature: float = 0.1) -> None:
        super().__init__()
        self.vision, self.temperature = vision, temperature
        self.embedding = nn.Linear(vocab_size, EMBEDDING)
        self.gru = nn.GRU(EMBEDDING, hidden, batch_first=True)

    def listen(self, onehot: Tensor) -> Tensor:
        """Unit vectors (B, hidden) of messages (B, L, V)."""
        return F.normalize(self.gru(self.embedding(onehot))[1][0], dim=1)

    def look(self, candidates: Tensor) -> Tensor:
        """Unit vectors (n, hidden) of pictures (n, C, H, W)."""
        return F.normalize(self.vision(candidates), dim=1)

    def forward(self, message: Message, candidates: Tensor) -> Tensor:
        """Scores (B, n) of pictures (n, C, H, W) for each message."""
        return self.listen(message.onehot) @ self.look(candidates).T / self.temperature
