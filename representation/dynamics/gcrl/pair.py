"""The networks for two agents: perceptrons over the tracks of both."""

from __future__ import annotations

import torch
from torch import Tensor, nn

AGENTS, HIDDEN = 2, 32


class PairEncoder(nn.Sequential):
    """Numbers (B, 2, latent) of each agent, of where both were."""

    def __init__(self, observed: int, latent: int) -> None:
        tracks, wide = AGENTS * 2 * observed, AGENTS * latent
        super().__init__(
            nn.Linear(tracks, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, wide)
        )

    def forward(self, past: Tensor) -> Tensor:
        """Encode pasts (B, observed, 2, 2)."""
        return super().forward(past.transpose(1, 2).flatten(1)).unflatten(-1, (AGENTS, -1))


class RelativeEncoder(nn.Sequential):
    """Numbers (B, 2 latent) of a scene, of how the second agent lay from the first."""

    def __init__(self, observed: int, latent: int) -> None:
        super().__init__(nn.Linear(2 * observed, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, AGENTS * latent))

    def forward(self, past: Tensor) -> Tensor:
        """Encode pasts (B, observed, 2, 2)."""
        return super().forward((past[:, :, 1] - past[:, :, 0]).flatten(1))


class _Joined(nn.Module):
    """Adds what is made of a vector and s to the vector."""

    def __init__(self, dim: int, s_dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim + s_dim, dim), nn.ReLU(), nn.Linear(dim, dim))

    def forward(self, inside: Tensor, s: Tensor) -> Tensor:
        return inside + self.net(torch.cat([inside, s], dim=-1))


class PairDecoder(nn.Module):
    """Coordinates (..., steps, 2, 2) of z (..., 2, z_dim) and s (..., s_dim)."""

    def __init__(self, z_dim: int, s_dim: int, steps: int) -> None:
        super().__init__()
        self.steps, scene, wide = steps, AGENTS * z_dim, 2 * AGENTS * steps
        self.first, self.second = _Joined(scene, s_dim), _Joined(8, s_dim)
        self.widen = nn.Sequential(nn.Linear(scene, 8), nn.ReLU(), nn.Linear(8, 8))
        self.read = nn.Sequential(nn.Linear(8, wide), nn.ReLU(), nn.Linear(wide, wide))

    def forward(self, z: Tensor, s: Tensor, past: Tensor) -> Tensor:
        """Decode them; the past is not looked at."""
        inside = self.second(self.widen(self.first(z.flatten(-2), s)), s)
        return self.read(inside).unflatten(-1, (AGENTS, self.steps, 2)).transpose(-3, -2)
