"""What a Hamiltonian says will happen: `yoshida4`, which keeps the energy, and `rk4`, for any field; and its errors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_ROOT = 2 ** (1 / 3)
_OUTER, _INNER = 1 / (2 - _ROOT), -_ROOT / (2 - _ROOT)


def yoshida4(field: Callable[[Tensor], Tensor], states: Tensor, dt: float, steps: int) -> Tensor:
    """States (steps + 1, B, bodies, 2 d) from states (B, bodies, 2 d) on.

    Three leaps of drift and kick, whose errors of second order cancel. It is symplectic, and of fourth order, where the
    rate of q depends on p alone and that of p on q alone. Elsewhere it is of first order: what a learned field keeps of
    the other dependence is then an error, and `rk4` is to be preferred.

    Args:
        field: rates of states.
        states: where it starts.
        dt: time of a step.
        steps: how many.
    """
    found, half = [states], states.shape[-1] // 2
    for _ in range(steps):
        for weight in (_OUTER, _INNER, _OUTER):
            states = _drift(field, states, half, 0.5 * weight * dt)
            kick = field(states)[..., half:]
            states = torch.cat([states[..., :half], states[..., half:] + weight * dt * kick], dim=-1)
            states = _drift(field, states, half, 0.5 * weight * dt)
        found.append(states)
    return torch.stack(found)


def rk4(field: Callable[[Tensor], Tensor], states: Tensor, dt: float, steps: int) -> Tensor:
    """The same by the classical method of Runge and Kutta: of fourth order for any smooth field, not symplectic."""
    found = [states]
    for _ in range(steps):
        first = field(states)
        second = field(states + 0.5 * dt * first)
        third = field(states + 0.5 * dt * second)
        states = states + dt / 6 * (first + 2 * second + 2 * third + field(states + dt * third))
        found.append(states)
    return torch.stack(found)


def state_error(told: Tensor, true: Tensor) -> Tensor:
    """Mean over time of |told - true| / (|told| + |true|), from 0 to 1, (B,) of states (T, B, bodies, 2 d)."""
    apart, told_size, true_size = ((part.flatten(2).norm(dim=2)) for part in (told - true, told, true))
    return (apart / (told_size + true_size).clamp(min=1e-12)).mean(dim=0)


def energy_error(hamiltonian: Callable[[Tensor], Tensor], told: Tensor) -> Tensor:
    """Mean over time of how far the true energy of states (T, B, bodies, 2 d) is from that of the first, as a share."""
    energies = torch.stack([hamiltonian(states) for states in told])
    return ((energies - energies[0]).abs() / energies[0].abs().clamp(min=1e-12)).mean(dim=0)


def _drift(field: Callable[[Tensor], Tensor], states: Tensor, half: int, dt: float) -> Tensor:
    return torch.cat([states[..., :half] + dt * field(states)[..., :half], states[..., half:]], dim=-1)
