"""People who step aside for each other and for an arm: scenes of any social distance."""

from __future__ import annotations

import torch
from torch import Tensor

RADIUS_M, SPEED_M, STEPS = 4.6, 0.4, 20
SPREAD_RAD, START_M = 0.3, 0.2
ARM_RADIUS_M, PASSING_RAD = 0.6, 0.5  # of the room that an arm is given; how far people's ways lead off its middle


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
    goals, apart = -places, torch.full((2, 2), 2 * min_distance)
    tracks = [places]
    for _ in range(STEPS - 1):
        wanted = _wanted(places, goals)
        places = places + wanted + _aside(places, wanted, apart, torch.tensor(0.5))
        tracks.append(places)
    return torch.stack(tracks, dim=1)


def simulate_people(arm: Tensor, people: int, min_distance: float, generator: torch.Generator) -> Tensor:
    """Tracks (B, T, people, 2), metres, of people who cross the place where an arm moves.

    They start anywhere on a circle about the tool's mean place and want to cross it, each a little off its middle. They
    step aside for each other as in `simulate_crossing`; for the arm, which steps aside for nobody, they go all the way.

    Args:
        arm: (B, T, 2) places of its tool, metres, at the steps of the tracks.
        people: in each scene.
        min_distance: radius d of each; they try to pass each other at 2 d, and the tool at d + 0.6 m.
        generator: draws where they start and where they want to go.
    """
    count = len(arm)
    start = 2 * torch.pi * torch.rand(count, people, generator=generator)
    end = start + torch.pi + PASSING_RAD * (2 * torch.rand(count, people, generator=generator) - 1)
    radius = RADIUS_M + START_M * torch.randn(count, people, generator=generator)
    middle = arm.mean(dim=1)[:, None]
    places, goals = (
        middle + radius[..., None] * torch.stack([angle.cos(), angle.sin()], dim=-1) for angle in (start, end)
    )
    radii = torch.tensor([ARM_RADIUS_M] + people * [min_distance])
    share = torch.full((1 + people, 1 + people), 0.5)
    share[:, 0] = 1.0
    tracks = [places]
    for here, there in zip(arm[:, :-1].unbind(1), arm[:, 1:].unbind(1), strict=True):
        wanted = _wanted(places, goals)
        all_places = torch.cat([here[:, None], places], dim=1)
        all_wanted = torch.cat([(there - here)[:, None], wanted], dim=1)
        places = places + wanted + _aside(all_places, all_wanted, radii[:, None] + radii, share)[:, 1:]
        tracks.append(places)
    return torch.stack(tracks, dim=1)


def _wanted(places: Tensor, goals: Tensor) -> Tensor:
    """Ways (B, agents, 2) of a step straight to the goals."""
    way = goals - places
    return SPEED_M * way / way.norm(dim=-1, keepdim=True).clamp(min=SPEED_M)


def _aside(places: Tensor, wanted: Tensor, distance: Tensor, share: Tensor) -> Tensor:
    """Ways (B, agents, 2) that each adds: a share of what is missing at the closest point to each of the others.

    Args:
        places: (B, agents, 2).
        wanted: (B, agents, 2) ways of the step.
        distance: (agents, agents) that shall lie between two.
        share: (agents, agents), or one number, of what is missing that the first adds for the second.
    """
    apart = places[:, None] - places[:, :, None]
    closing = wanted[:, None] - wanted[:, :, None]
    until = -(apart * closing).sum(dim=-1) / closing.square().sum(dim=-1).clamp(min=1e-6)
    miss = apart + closing * until[..., None]
    left = torch.stack([-closing[..., 1], closing[..., 0]], dim=-1)
    left = left / left.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    far = miss.norm(dim=-1, keepdim=True)
    side = torch.where(far > 1e-3, miss / far.clamp(min=1e-3), left)
    short = (distance - far[..., 0]).clamp(min=0) * (until > 0)
    return -(side * (share * short / until.clamp(min=1))[..., None]).sum(dim=2)
