"""Mechanical systems whose laws are known, and their trajectories. Masses are one; each potential has one constant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

DURATION, POINTS = 10.0, 200
CONSTANTS = (0.5, 1.0)
DIMENSIONS = 2


@dataclass(frozen=True, slots=True)
class Trajectories:
    """States along K trajectories of one system, T of each.

    Attributes:
        states: (K, T, bodies, 2 d), q then p.
        rates: time derivatives, of the same shape.
    """

    states: Tensor
    rates: Tensor

    def drawn(self, count: int, generator: torch.Generator) -> Trajectories:
        """Some different moments of each trajectory, in random order."""
        order = torch.rand(self.states.shape[:2], generator=generator).argsort(dim=1)[:, :count]
        rows = torch.arange(len(order))[:, None]
        return Trajectories(self.states[rows, order], self.rates[rows, order])


@dataclass(frozen=True)
class System:
    """Bodies in the plane, and what they may do.

    Attributes:
        name: of the system.
        potential: (B,) of positions (B, bodies, 2) and constants (B,).
        bodies: how many.
        reach: largest coordinate and momentum of a start.
        bound: (B,) energy below which motion stays bounded, of constants (B,); None if it always does.
    """

    name: str
    potential: Callable[[Tensor, Tensor], Tensor]
    bodies: int = 1
    reach: float = 1.0
    bound: Callable[[Tensor], Tensor] | None = None

    def hamiltonian(self, states: Tensor, constants: Tensor) -> Tensor:
        """Energies (B,) of states (B, bodies, 4)."""
        q, p = states.chunk(2, dim=-1)
        return 0.5 * p.square().sum(dim=(1, 2)) + self.potential(q, constants)

    def field(self, states: Tensor, constants: Tensor) -> Tensor:
        """Rates (B, bodies, 4) of states of the same shape."""
        q, p = states.chunk(2, dim=-1)
        with torch.enable_grad():
            q = q.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.potential(q, constants).sum(), q)
        return torch.cat([p, -slope], dim=-1)

    def starts(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random states (count, bodies, 4) from which motion is bounded, and constants (count,)."""
        low, high = CONSTANTS
        constants = low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)
        if self.bodies > 1:
            return _orbits(self.bodies, constants, generator), constants
        states = torch.zeros(count, 1, 2 * DIMENSIONS, dtype=torch.float64)
        wanted = torch.ones(count, dtype=torch.bool)
        while wanted.any():
            drawn = torch.rand(states.shape, generator=generator, dtype=torch.float64)
            states = torch.where(wanted[:, None, None], self.reach * (2 * drawn - 1), states)
            wanted = torch.zeros(count, dtype=torch.bool)
            if self.bound is not None:
                wanted = self.hamiltonian(states, constants) >= self.bound(constants)
        return states, constants

    def trajectories(
        self, states: Tensor, constants: Tensor, duration: float = DURATION, points: int = POINTS
    ) -> Trajectories:
        """Motion from states (K, bodies, 4), at evenly spaced times; LSODA, in double precision."""
        shape = states.shape

        def rates(_: float, flat: np.ndarray) -> np.ndarray:
            return self.field(torch.from_numpy(flat).reshape(shape), constants).numpy().ravel()

        times = np.linspace(0, duration, points)
        found = solve_ivp(rates, (0, duration), states.ravel(), "LSODA", times, rtol=1e-10, atol=1e-12)
        path = torch.from_numpy(found.y.T.copy()).reshape(points, *shape)
        flat = path.reshape(-1, *shape[1:])
        speed = self.field(flat, constants.repeat(points)).reshape(path.shape)
        return Trajectories(path.transpose(0, 1), speed.transpose(0, 1))

    def drawn(self, count: int, generator: torch.Generator) -> Trajectories:
        """Single-precision trajectories (count, 200, bodies, 4) from random starts with random constants."""
        found = self.trajectories(*self.starts(count, generator))
        return Trajectories(found.states.float(), found.rates.float())


def _spring(q: Tensor, c: Tensor) -> Tensor:
    return 0.5 * c * q.square().sum(dim=(1, 2))


def _pendulum(q: Tensor, c: Tensor) -> Tensor:
    return c * (1 - q.cos()).sum(dim=(1, 2))


def _henon_heiles(q: Tensor, c: Tensor) -> Tensor:
    x, y = q[:, 0].unbind(dim=-1)
    return 0.5 * (x**2 + y**2) + c * (x**2 * y - y**3 / 3)


def _magnetic_mirror(q: Tensor, c: Tensor) -> Tensor:
    r, z = q[:, 0].unbind(dim=-1)
    return c * r**2 / 2 * (1 + z**2 / 2 - r**2 / 8) ** 2


def _quartic_well(q: Tensor, c: Tensor) -> Tensor:
    return c * (q**4).sum(dim=(1, 2)) / 4


def _double_well(q: Tensor, c: Tensor) -> Tensor:
    x, y = q[:, 0].unbind(dim=-1)
    return c * (x**2 - 1) ** 2 / 4 + 0.5 * y**2


def _gravity(q: Tensor, c: Tensor) -> Tensor:
    first, second = torch.triu_indices(q.shape[1], q.shape[1], 1)
    return -c * (1 / (q[:, first] - q[:, second]).norm(dim=-1)).sum(dim=1)


def _orbits(bodies: int, constants: Tensor, generator: torch.Generator) -> Tensor:
    """Equal masses at the corners of a polygon about their common centre, on nearly circular orbits."""
    count = len(constants)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, generator=generator, dtype=torch.float64)

    radius = uniform(0.5, 1.5)
    angle = uniform(0, 2 * np.pi) + 2 * np.pi * torch.arange(bodies, dtype=torch.float64) / bodies
    pull = sum(0.25 / np.sin(np.pi * k / bodies) for k in range(1, bodies))
    speed = (constants[:, None] * pull / radius).sqrt() * uniform(0.9, 1.1)
    q = radius[..., None] * torch.stack([angle.cos(), angle.sin()], dim=-1)
    p = speed[..., None] * torch.stack([-angle.sin(), angle.cos()], dim=-1)
    return torch.cat([q, p], dim=-1)


def n_body(bodies: int) -> System:
    """Equal masses that attract each other."""
    return System(f"{bodies} bodies", _gravity, bodies)


SYSTEMS = {
    system.name: system
    for system in (
        System("mass-spring", _spring),
        System("pendulum", _pendulum),
        System("henon-heiles", _henon_heiles, reach=0.5, bound=lambda c: 1 / (6 * c**2)),
        System("magnetic mirror", _magnetic_mirror),
        System("quartic well", _quartic_well),
        System("double well", _double_well),
        n_body(2),
        n_body(3),
    )
}
