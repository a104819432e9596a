"""Two agents that cross, each stepping aside for the other: scenes of any social distance."""

from __future__ import annotations

import torch
from torch import Tensor

RADIUS_M, SPEED_M, STEPS = 4.6, 0.4, 20
SPREAD_RAD, START_M = 0.3, 0.2


def simulate_crossing(count: int, min_distance: float, seed: int) -> Tensor:
    """Tracks (count, 20, 2, 2), metres, of agents that start on opposite sides of a circle and want to change places.

    Args:
        count: scenes.
        min_distance: radius d of each agent; they try to pass each other at 2 d.
        seed: of where they start.
    """
    generator = torch.Generator().manual_seed(seed)
    first = 2 * torch.pi * torch.rand(count, generator=generator)
    second = first + torch.pi + SPREAD_RAD * (2 * torch.rand(count, generator=generator) - 1)
    angles = torch.stack([first, second], dim=1)
    radius = RADIUS_M + START_M * torch.randn(count, 2, generator=generator)
    places = radius[..., None] * torch.stack([angles.cos(), angles.sin()], dim=-1)
    goals = -places
    tracks = [places]
    for _ in range(STEPS - 1):
        way = goals - places
        wanted = SPEED_M * way / way.norm(dim=-1, keepdim=True).clamp(min=SPEED_M)
        places = places + wanted + _aside(places, wanted, 2 * min_distance)
        tracks.append(places)
    return torch.stack(tracks, dim=1)


def _aside(places: Tensor, wanted: Tensor, distance: float) -> Tensor:
    """Velocities (B, 2, 2) that each adds, half of what is missing at the closest point."""
    apart, closing = places[:, 1] - places[:, 0], wanted[:, 1] - wanted[:, 0]
    until = -(apart * closing).sum(dim=-1) / closing.square().sum(dim=-1).clamp(min=1e-6)
    miss = apart + closing * until[:, None]
    left = torch.stack([-closing[:, 1], closing[:, 0]], dim=-1)
    left = left / left.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    far = miss.norm(dim=-1, keepdim=True)
    side = torch.where(far > 1e-3, miss / far.clamp(min=1e-3), left)
    short = (distance - far).clamp(min=0) * (until[:, None] > 0)
    change = 0.5 * side * short / until[:, None].clamp(min=1)
    return torch.stack([-change, change], dim=1)
