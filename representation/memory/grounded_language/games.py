"""The games by which a language comes into being: find the sender's picture, or another one of its class.

A batch has `sent` and `candidates`, both (G, n, C, H, W): G groups of n pictures of which the sender sees one each, and
the n pictures of a group among which the receiver looks for the answer, which stands at the same place; and `noise`
(G n, L, V), see `message.gumbel_noise`, where it is not to be drawn anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.interface import Loss
from representation.memory.grounded_language.message import Message
from representation.memory.grounded_language.receiver import SymbolReceiver
from representation.memory.grounded_language.sender import SymbolSender


class Game(nn.Module):
    """What both games share.

    Args:
        sender: speaks.
        receiver: listens.
        balance: weight of how far the use of symbols is from even, against the collapse into one symbol.
    """

    def __init__(self, sender: SymbolSender, receiver: SymbolReceiver, balance: float = 0.0) -> None:
        super().__init__()
        self.sender, self.receiver, self.balance = sender, receiver, balance

    def scores(self, message: Message, candidates: Tensor) -> Tensor:
        """(G, n, n) scores of each group's candidates (G, n, C, H, W) for its messages."""
        groups = candidates.shape[:2]
        heard, seen = self.receiver.listen(message.onehot), self.receiver.look(candidates.flatten(0, 1))
        return heard.unflatten(0, groups) @ seen.unflatten(0, groups).mT / self.receiver.temperature

    def score_loss(self, scores: Tensor) -> Tensor:
        """The loss of scores (G, n, n), of which those on the diagonal should be the highest."""
        raise NotImplementedError

    def loss(self, batch: Mapping[str, Tensor]) -> Loss:
        """The loss of a batch, how often the answer is wrong, and how unevenly symbols are used."""
        message = self.sender(batch["sent"].flatten(0, 1), batch.get("noise"))
        scores = self.scores(message, batch["candidates"])
        usage = message.logits.softmax(dim=2).mean(dim=(0, 1))
        uneven = math.log(len(usage)) + (usage * usage.clamp(min=1e-12).log()).sum()
        matching = self.score_loss(scores)
        return Loss(matching + self.balance * uneven, {"wrong": 1 - _right(scores), "uneven": uneven})

    @torch.no_grad()
    def accuracy(self, batch: Mapping[str, Tensor], order: Tensor | None = None) -> float:
        """How often the answer is right; with `order` (n,), messages of each group were exchanged by it before."""
        sent = batch["sent"]
        message = self.sender(sent.flatten(0, 1), batch.get("noise"))
        if order is not None:
            onehot, ids, logits = (
                part.unflatten(0, sent.shape[:2])[:, order].flatten(0, 1)
                for part in (message.onehot, message.ids, message.logits)
            )
            message = Message(onehot, ids, logits)
        return float(_right(self.scores(message, batch["candidates"])))


class ReferentialGame(Game):
    """The classical game: the receiver finds the very picture that the sender saw."""

    def score_loss(self, scores: Tensor) -> Tensor:
        """Cross-entropy over the candidates."""
        return F.cross_entropy(scores.flatten(0, 1), _places(scores))


class WithinClassGame(Game):
    """The receiver finds another picture of the class; the classes of a group are all different."""

    def score_loss(self, scores: Tensor) -> Tensor:
        """Cross-entropy over candidates, and over messages, half each."""
        right = _places(scores)
        return (F.cross_entropy(scores.flatten(0, 1), right) + F.cross_entropy(scores.mT.flatten(0, 1), right)) / 2


def _places(scores: Tensor) -> Tensor:
    return torch.arange(scores.shape[1], device=scores.device).repeat(len(scores))


def _right(scores: Tensor) -> Tensor:
    return (scores.detach().flatten(0, 1).argmax(dim=1) == _places(scores)).float().mean()
