"""`Message`, and how its symbols are chosen: by chance in training, with gradients as if they were soft.

Gumbel-Softmax, Jang et al. (arXiv 1611.01144) and Maddison et al. (arXiv 1611.00712).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


@dataclass(frozen=True)
class Message:
    """What a sender says of B pictures, in L symbols out of V.

    Attributes:
        onehot: (B, L, V), through which gradients flow.
        ids: (B, L) int64.
        logits: (B, L, V).
    """

    onehot: Tensor
    ids: Tensor
    logits: Tensor


def gumbel_noise(shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
    """Numbers -log(-log u); with them added to logits, the largest is a draw from their softmax."""
    u = torch.rand(shape, generator=generator).clamp(min=torch.finfo(torch.float32).tiny)
    return -(-u.log()).clamp(min=torch.finfo(torch.float32).tiny).log()


def chosen(logits: Tensor, noise: Tensor | None, temperature: float, straight_through: bool) -> Tensor:
    """Symbols as (B, V).

    Args:
        logits: (B, V).
        noise: (B, V) of `gumbel_noise`; None takes the most likely symbols, through which no gradient flows.
        temperature: of the softmax.
        straight_through: whether they are one-hot, with the gradient of the soft ones; otherwise they are soft.
    """
    if noise is None:
        return F.one_hot(logits.argmax(dim=1), logits.shape[1]).to(logits)
    soft = ((logits + noise.to(logits)) / temperature).softmax(dim=1)
    if not straight_through:
        return soft
    hard = F.one_hot(soft.argmax(dim=1), logits.shape[1]).to(logits)
    return hard + (soft - soft.detach())
