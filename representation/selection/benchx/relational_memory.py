"""A memory of what was written so far, and layer norms that depend on it (Chen et al., EMNLP 2020: R2Gen)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

HEADS, SLOTS = 8, 3
MLP_BIAS = 0.1


class MultiHeadAttention(nn.Module):
    """Attention with four linear layers."""

    def __init__(self, width: int, dropout: float = 0.1, heads: int = HEADS) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width: expected a multiple of {heads} heads, found {width}")
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def keys_and_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, heads, N, width / heads) of tokens (B, N, width)."""
        key, value = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.key, self.value))
        return key, value

    def forward(self, x: Tensor, key: Tensor, value: Tensor, causal: bool = False) -> Tensor:
        """What tokens (B, N, width) find among keys; causally, token n among the first n + 1."""
        query = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        rate = self.dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(query, key, value, dropout_p=rate, is_causal=causal)
        return self.out(found.transpose(1, 2).flatten(2))


class RelationalMemory(nn.Module):
    """Slots that attend to themselves and to each new token, behind gates.

    Args:
        width: of a slot and of a token.
        slots: how many.
        heads: of the attention.
    """

    def __init__(self, width: int, slots: int = SLOTS, heads: int = HEADS) -> None:
        super().__init__()
        self.width, self.slots = width, slots
        self.attention = MultiHeadAttention(width, heads=heads)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.from_token, self.from_memory = nn.Linear(width, 2 * width), nn.Linear(width, 2 * width)

    def initial(self, count: int) -> Tensor:
        """Memories (B, slots, width) before any token: rows of the identity."""
        return torch.eye(self.slots, self.width, device=self.from_token.weight.device).expand(count, -1, -1)

    def step(self, token: Tensor, memory: Tensor) -> Tensor:
        """Memories (B, slots, width) after a token (B, width)."""
        seen = torch.cat([memory, token[:, None]], dim=1)
        grown = memory + self.attention(memory, *self.attention.keys_and_values(seen))
        grown = grown + self.mlp(grown)
        gates = self.from_token(token)[:, None] + self.from_memory(torch.tanh(memory))
        write, keep = gates.sigmoid().chunk(2, dim=-1)
        return write * torch.tanh(grown) + keep * memory

    def forward(self, tokens: Tensor) -> Tensor:
        """Memories (B, N, slots * width) after each of some tokens (B, N, width)."""
        memory, found = self.initial(len(tokens)), []
        for token in tokens.unbind(1):
            memory = self.step(token, memory)
            found.append(memory.flatten(1))
        return torch.stack(found, dim=1)


class PlainLayerNorm(nn.Module):
    """gain * (x - mean) / (std + 1e-6) + shift, where std has n - 1 below."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def standardised(self, x: Tensor) -> Tensor:
        """(..., width) with mean 0 and deviation 1."""
        return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to (..., width)."""
        return self.gain * self.standardised(x) + self.shift


class ConditionalLayerNorm(PlainLayerNorm):
    """A layer norm to whose gain and shift the memory adds."""

    def __init__(self, width: int, memory_width: int) -> None:
        super().__init__(width)
        self.gain_mlp, self.shift_mlp = (
            nn.Sequential(nn.Linear(memory_width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(2)
        )

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:  # type: ignore[override]
        """(B, N, width) to the same, with memories (B, N, slots * width)."""
        gain, shift = self.gain + self.gain_mlp(memory), self.shift + self.shift_mlp(memory)
        return gain * self.standardised(x) + shift


def draw_report_weights(module: nn.Module) -> None:
    """Xavier's uniform weights of all matrices; biases 0.1 in the perceptrons of conditional norms; in place."""
    for parameter in module.parameters():
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)
    for part in module.modules():
        if isinstance(part, ConditionalLayerNorm):
            for layer in (*part.gain_mlp, *part.shift_mlp):
                if isinstance(layer, nn.Linear):
                    nn.init.constant_(layer.bias, MLP_BIAS)


def sinusoidal_positions(length: int, width: int) -> Tensor:
    """(length, width): sines in even and cosines in odd places, of wave lengths from 2 pi to 20000 pi."""
    angle = torch.arange(length)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)
