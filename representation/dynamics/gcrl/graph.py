"""The networks for any number of agents: recurrent, with attention of each agent to all of its scene.

An agent that is not in a scene is NaN throughout; nothing looks at it. Beside the displacements of the published model,
encoders see where each agent is from the mean place of all at the last step: without that nobody's way could be told
to lead towards another's. Neither depends on where in the world the scene is. Decoders tell what is added to the last
displacement, not the whole of the next: an untrained model then goes on at about constant velocity.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

HEADS, HEAD_WIDTH, GAIN, SLOPE = 4, 16, 1.414, 0.2
MAP_WIDTH = 32


class HardCell(nn.Module):
    """One step of an LSTM whose gates are hard sigmoids and whose values pass hard hyperbolic tangents."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.gates = nn.Linear(inputs + width, 4 * width)
        nn.init.normal_(self.gates.weight, std=0.1)
        nn.init.zeros_(self.gates.bias)

    def forward(self, inputs: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden state and cell (..., width) after inputs (..., inputs)."""
        enter, keep, value, leave = self.gates(torch.cat([inputs, hidden], dim=-1)).chunk(4, dim=-1)
        cell = F.hardsigmoid(keep) * cell + F.hardsigmoid(enter) * F.hardtanh(value)
        return F.hardsigmoid(leave) * F.hardtanh(cell), cell

    def run(self, inputs: Tensor) -> Tensor:
        """Hidden states (B, T, agents, width) along inputs (B, T, agents, inputs), from zeros."""
        hidden = cell = inputs.new_zeros(*inputs.shape[:1], inputs.shape[2], self.width)
        states = []
        for step in inputs.unbind(1):
            hidden, cell = self(step, hidden, cell)
            states.append(hidden)
        return torch.stack(states, dim=1)


class Attention(nn.Module):
    """Graph attention of each agent to all of its scene, itself too; heads are laid side by side."""

    def __init__(self, inputs: int, width: int, heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(heads, inputs, width))
        self.source, self.target = (nn.Parameter(torch.empty(heads, width, 1)) for _ in range(2))
        self.bias = nn.Parameter(torch.zeros(heads * width))
        for parameter in (self.weight, self.source, self.target):
            for head in parameter:
                nn.init.xavier_uniform_(head, gain=GAIN)

    def forward(self, states: Tensor, there: Tensor) -> Tensor:
        """Vectors (B, T, agents, heads * width) of (B, T, agents, inputs) and of who is there (B, agents)."""
        inside = torch.einsum("btni,hio->bthno", normalised(states, there), self.weight)
        scores = F.leaky_relu(inside @ self.source + (inside @ self.target).mT, SLOPE)
        scores = scores.masked_fill(~there[:, None, None, None], -torch.inf)
        return (scores.softmax(dim=-1) @ inside).transpose(2, 3).flatten(3) + self.bias


def normalised(states: Tensor, there: Tensor) -> Tensor:
    """Vectors (B, T, agents, C), each channel less its mean over the agents who are there, over its deviation."""
    weights = there[:, None, :, None] / there.sum(dim=1)[:, None, None, None]
    centred = states - (states * weights).sum(dim=2, keepdim=True)
    variance = (centred.square() * weights).sum(dim=2, keepdim=True)
    return centred / (variance + 1e-5).sqrt()


class GraphEncoder(nn.Module):
    """Numbers (B, agents, latent) of each agent: how it moved, and how the others did about it."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        width = latent // 2
        self.own, self.about = HardCell(4, width), HardCell(width, width)
        self.first, self.second = Attention(width, HEAD_WIDTH, HEADS), Attention(HEADS * HEAD_WIDTH, width, 1)

    def forward(self, past: Tensor) -> Tensor:
        """Encode pasts (B, observed, agents, 2)."""
        there = ~past.isnan().any(dim=(1, 3))
        middle = past[:, -1].nanmean(dim=1)[:, None, None]
        inputs = torch.cat([moves(past), (past - middle).nan_to_num()], dim=-1)
        own = self.own.run(inputs)
        seen = self.second(F.elu(self.first(own, there)), there)
        return torch.cat([own[:, -1], self.about.run(seen)[:, -1]], dim=-1)


def moves(past: Tensor) -> Tensor:
    """Displacements (B, T, agents, 2) from step to step; zeros at the first, and of who is not there."""
    return F.pad(past.diff(dim=1), (0, 0, 0, 0, 1, 0)).nan_to_num()


class GraphDecoder(nn.Module):
    """Changes of displacement of each agent, of z (..., agents, z_dim) and s (..., agents, s_dim), step by step.

    Args:
        z_dim: numbers of z.
        s_dim: numbers of s.
    """

    def __init__(self, z_dim: int, s_dim: int) -> None:
        super().__init__()
        width = z_dim + s_dim
        self.start = nn.Sequential(nn.Linear(width, MAP_WIDTH), nn.ReLU(), nn.Linear(MAP_WIDTH, width))
        self.cell, self.read = HardCell(2, width), nn.Linear(width, 2)

    def begin(self, z: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden state and cell."""
        hidden = self.start(torch.cat([z, s], dim=-1))
        return hidden, torch.zeros_like(hidden)


class PastGraphDecoder(GraphDecoder):
    """Each place from the true one before it: (..., observed, agents, 2); the first is the true one."""

    def forward(self, z: Tensor, s: Tensor, past: Tensor) -> Tensor:
        """Decode them, and pasts (B, observed, agents, 2)."""
        hidden, cell = self.begin(z, s)
        told = [past[:, 0].expand(*hidden.shape[:-1], 2)]
        for place, move in zip(past[:, :-1].unbind(1), moves(past)[:, :-1].unbind(1), strict=True):
            hidden, cell = self.cell(move.expand(*hidden.shape[:-1], 2), hidden, cell)
            told.append(place + move + self.read(hidden))
        return torch.stack(told, dim=-3)


class FutureGraphDecoder(GraphDecoder):
    """Displacements (..., steps, agents, 2) after the past, each from the one that was told before it."""

    def __init__(self, z_dim: int, s_dim: int, steps: int) -> None:
        super().__init__(z_dim, s_dim)
        self.steps = steps

    def forward(self, z: Tensor, s: Tensor, past: Tensor) -> Tensor:
        """Decode them, and pasts (B, observed, agents, 2)."""
        hidden, cell = self.begin(z, s)
        move, told = moves(past)[:, -1].expand(*hidden.shape[:-1], 2), []
        for _ in range(self.steps):
            hidden, cell = self.cell(move, hidden, cell)
            move = move + self.read(hidden)
            told.append(move)
        return torch.stack(told, dim=-3)
