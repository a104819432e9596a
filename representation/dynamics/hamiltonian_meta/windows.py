"""Windows of joint readings in files: what `python -m sim.held_tools` writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from representation.data.array_files import read_arrays
from representation.dynamics.hamiltonian_meta.energy_alarm import TIME_UNIT_S, JointWindow
from representation.dynamics.hamiltonian_meta.systems import Trajectories

FILE, EVENTS = "windows.npz", ("nothing", "collision", "slip")
MAX_BYTES = 256 * 2**20
_ARRAYS = ("dt", "calm_s", "readings", "event", "event_s")
_PASSIVE = ("pendulum", "spring")


@dataclass(frozen=True)
class HeldTools:
    """Held tools, and what to learn from before.

    Attributes:
        windows: joint readings of each tool.
        calm: readings at the start of each window in which nothing happens.
        events: what happens then, of EVENTS.
        event_s: when, seconds from the start.
        passive: free pendulums, and springs; (K, 200, 1, 2) in the units of `JointWindow.states`.
    """

    windows: list[JointWindow]
    calm: int
    events: list[str]
    event_s: NDArray[np.float64]
    passive: list[Trajectories]


def read_held_tools(directory: Path) -> HeldTools:
    """Read them.

    Raises:
        FileNotFoundError: there are none; says how to make them.
        ValueError: damaged, or larger than 256 MiB.
    """
    path = directory / FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected windows; python -m sim.held_tools --output {directory}")
    names = [*_ARRAYS, *(f"{kind}_{part}" for kind in _PASSIVE for part in ("states", "rates"))]
    found = read_arrays(path, MAX_BYTES, names)
    if len(found) < len(names):
        raise ValueError(f"{path}: expected the arrays {', '.join(names)}, found only {', '.join(found) or 'others'}")
    readings, dt, event = found["readings"], float(found["dt"]), found["event"]
    if readings.ndim != 3 or readings.shape[2] != 2 or len(event) != len(readings):
        raise ValueError(f"{path}: expected readings (N, T, 2) and N events, found {readings.shape}, {event.shape}")
    return HeldTools(
        [JointWindow(dt, rows[:, :1], rows[:, 1:]) for rows in readings],
        round(float(found["calm_s"]) / dt),
        [EVENTS[int(number)] for number in event],
        found["event_s"],
        [_in_units(found[f"{kind}_states"], found[f"{kind}_rates"]) for kind in _PASSIVE],
    )


def _in_units(states: NDArray, rates: NDArray) -> Trajectories:
    """Seconds and readings (K, T, 2) to time units and states (K, T, 1, 2)."""
    momentum = np.array([1.0, TIME_UNIT_S])
    both = (states * momentum, rates * momentum * TIME_UNIT_S)
    return Trajectories(*(torch.from_numpy(values).float()[:, :, None] for values in both))
