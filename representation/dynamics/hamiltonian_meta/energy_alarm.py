"""`EnergyAlarm`: what swings freely keeps its energy; what is hit, or slips, does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from representation.dynamics.hamiltonian_meta.adaptation import adapt
from representation.dynamics.hamiltonian_meta.network import HamiltonianNet

TIME_UNIT_S = 0.1
"""Time is counted in tenths of a second: position and momentum of what a gripper holds are then of the same size."""
SMOOTHING = 9
"""Samples of the cubic that a velocity is differentiated by."""
RESOLUTION = 16
"""How many times finer than by its own length the period of a calm part is told."""


@dataclass(frozen=True, slots=True)
class JointWindow:
    """Readings of passive joints at even times.

    Attributes:
        dt: seconds between two readings.
        positions: (T, d), rad or m.
        velocities: (T, d), per second.
        momenta: (T, d), by one unit of inertia, per second, as of `mujoco_passive.MujocoPassive.window`. Left out, they
            are the velocities, which is exact where the inertia does not depend on the position, as for one joint.
    """

    dt: float
    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]
    momenta: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        arrays = self.positions, self.velocities, self._moving
        shapes = [part.shape for part in arrays]
        if self.positions.ndim != 2 or len(set(shapes)) > 1 or len(self.positions) < SMOOTHING:
            raise ValueError(f"window: expected at least {SMOOTHING} rows of equal shapes (T, d), found {shapes}")
        if not self.dt > 0 or not all(np.isfinite(part).all() for part in arrays):
            raise ValueError(f"window: expected finite readings and times that pass, found dt {self.dt}")

    def part(self, rows: slice) -> JointWindow:
        """Some of its readings."""
        return JointWindow(self.dt, self.positions[rows], self.velocities[rows], self._moving[rows])

    def states(self) -> torch.Tensor:
        """(T, 1, 2 d), of one body."""
        states = np.concatenate([self.positions, self._moving * TIME_UNIT_S], axis=1)
        return torch.from_numpy(states).float()[:, None]

    def rates(self) -> torch.Tensor:
        """(T, 1, 2 d), by time unit."""
        momenta = self._moving * TIME_UNIT_S
        forces = savgol_filter(momenta, SMOOTHING, 3, deriv=1, delta=self.dt / TIME_UNIT_S, axis=0)
        return torch.from_numpy(np.concatenate([self.velocities * TIME_UNIT_S, forces], axis=1)).float()[:, None]

    @property
    def _moving(self) -> NDArray[np.float64]:
        return self.velocities if self.momenta is None else self.momenta


@dataclass(frozen=True)
class AlarmConfig:
    """When it sounds.

    Attributes:
        samples: readings that the model is fitted to.
        steps: of Adam.
        lr: of Adam.
        sigmas: of the calm scatter that are too many.
    """

    samples: int = 50
    steps: int = 200
    lr: float = 5e-3
    sigmas: float = 5.0


def drift(energies: NDArray[np.float64], span: int) -> NDArray[np.float64]:
    """(T,) mean energy of the last `span` readings, minus that of as many before them; nan where there are too few."""
    sums = np.concatenate([[0.0], np.cumsum(energies)])
    means = (sums[span:] - sums[:-span]) / span
    found = np.full(len(energies), np.nan)
    if len(energies) >= 2 * span:
        found[2 * span - 1 :] = means[span:] - means[:-span]
    return found


def sigmas(energies: NDArray[np.float64], calm: int, span: int) -> NDArray[np.float64]:
    """(T,) how far the drift is from that of friction, in standard deviations by the calm part's scatter; 0 at first.

    Args:
        energies: (T,).
        calm: how many of them, from the start, are calm; a line through them is what friction takes.
        span: readings whose means are compared.
    """
    return _deviations(energies, span, *_calm_line(energies[:calm], span))


def _calm_line(energies: NDArray[np.float64], span: int) -> tuple[float, float]:
    """What friction takes by reading, and how far the drift of calm energies scatters about that."""
    places = np.arange(len(energies))
    slope, offset = np.polyfit(places, energies, 1)
    return float(slope), float((energies - slope * places - offset).std() * (2 / span) ** 0.5)


def _deviations(energies: NDArray[np.float64], span: int, slope: float, scatter: float) -> NDArray[np.float64]:
    return np.nan_to_num(np.abs(drift(energies, span) - slope * span) / max(scatter, 1e-12))


def swing_s(window: JointWindow) -> float:
    """Seconds of the strongest oscillation of the positions; at most the length of the window."""
    count = len(window.positions)
    centred = (window.positions - window.positions.mean(axis=0)) * np.hanning(count)[:, None]
    strength = np.abs(np.fft.rfft(centred, RESOLUTION * count, axis=0)).sum(axis=1)
    return float(window.dt * RESOLUTION * count / max(int(strength.argmax()), RESOLUTION))


class EnergyAlarm:
    """A model of what is held, fitted to a calm part, and the energy of all that follows.

    Means over whole swings are compared, in which the errors that a model makes at each place of a swing cancel.

    Args:
        net: meta-trained, of one body with as many coordinates as the window has.
        calm: readings while it swung freely.
        config: when it sounds.
        seed: of the readings that are fitted to.

    Attributes:
        parameters: the fitted weights.
        span: readings of one swing.
    """

    def __init__(self, net: HamiltonianNet, calm: JointWindow, config: AlarmConfig, seed: int = 0) -> None:
        if net.config.coordinates != calm.positions.shape[1]:
            raise ValueError(f"net: expected {calm.positions.shape[1]} coordinates, found {net.config.coordinates}")
        self.net, self.calm, self.config = net, calm, config
        count = len(calm.positions)
        rows = np.random.default_rng(seed).choice(count, min(config.samples, count), replace=False)
        fitted = calm.states()[rows], calm.rates()[rows]
        self.parameters = adapt(net, net.parameters_by_name, *fitted, config.steps, config.lr)
        self.span = max(1, round(swing_s(calm) / calm.dt))
        self._calm_line = _calm_line(self.energies(calm), self.span)

    def energies(self, window: JointWindow) -> NDArray[np.float64]:
        """(T,) by unit of inertia, in squared units per squared time unit, up to a constant."""
        with torch.no_grad():
            return self.net.energy(self.parameters, window.states()).double().numpy()

    def sigmas(self, window: JointWindow) -> NDArray[np.float64]:
        """(T,) drift of the energy in standard deviations of the calm part's, see `sigmas`; 0 in two swings."""
        return _deviations(self.energies(window), self.span, *self._calm_line)

    def sounds(self, window: JointWindow) -> float | None:
        """Seconds from the start of a window that begins with the calm part; None where it stays silent."""
        return first_above(self.sigmas(window), len(self.calm.positions), self.config.sigmas, window.dt)


def first_above(values: Sequence[float] | NDArray, start: int, limit: float, dt: float) -> float | None:
    """Seconds at which values first exceed a limit from `start` on; None if they never do."""
    above = np.flatnonzero(np.asarray(values)[start:] > limit)
    return float((start + above[0]) * dt) if len(above) else None
