"""`TrackRecord`: what came of forecasts, measured by the places that were tracked later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from representation.dynamics.gcrl.training import constant_velocity


@dataclass(frozen=True)
class ForecastErrors:
    """Mean distances of a forecast over the steps that were tracked and all agents, metres.

    Attributes:
        best: of the sample that is best for all agents together.
        single: of a single sample, on average.
        constant: of agents that go on as they last did.
    """

    best: float
    single: float
    constant: float


class TrackRecord:
    """Remembers tracked places, to look back at forecasts.

    Args:
        max_gap_s: between two places of an agent that it is followed across.
    """

    def __init__(self, max_gap_s: float = 0.5) -> None:
        self._max_gap_s = max_gap_s
        self._seen: dict[str, list[tuple[float, float, float]]] = {}

    def add(self, stamp: float, places: Mapping[str, tuple[float, float]]) -> None:
        """Take the places of all agents, metres, at a time, seconds; later than those before."""
        for name, (x, y) in places.items():
            self._seen.setdefault(name, []).append((stamp, x, y))

    def places(self, agents: Sequence[str], times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where agents were, (times, agents, 2); NaN where an agent was not followed."""
        found = np.full((len(times), len(agents), 2), np.nan)
        for number, name in enumerate(agents):
            at, x, y = np.array(self._seen.get(name, [(np.nan, np.nan, np.nan)])).T
            after = np.searchsorted(at, times).clip(1, max(1, len(at) - 1))
            there = (at[0] <= times) & (times <= at[-1]) & (len(at) > 1)
            there[there] &= at[after[there]] - at[after[there] - 1] <= self._max_gap_s
            found[there, number] = np.stack([np.interp(times[there], at, x), np.interp(times[there], at, y)], axis=-1)
        return found

    def errors(
        self, samples: NDArray[np.float32], agents: Sequence[str], stamp: float, period_s: float, least_steps: int
    ) -> ForecastErrors | None:
        """How far off a forecast was.

        Args:
            samples: (K, T, agents, 2) metres.
            agents: their names.
            stamp: of the last place that it follows, seconds.
            period_s: of its steps.
            least_steps: in which all agents must have been tracked.

        Returns:
            None where they were tracked in fewer steps, or not when the forecast was made.
        """
        true = self.places(agents, stamp + period_s * np.arange(1, samples.shape[1] + 1))
        past = self.places(agents, stamp + period_s * np.array([-1.0, 0.0]))
        steps = np.isfinite(true).all(axis=(1, 2))
        if steps.sum() < least_steps or not np.isfinite(past).all():
            return None
        constant = constant_velocity(torch.from_numpy(past)[None], len(true))[0, 0].numpy()
        off = np.linalg.norm(samples[:, steps] - true[steps], axis=-1).mean(axis=(1, 2))
        return ForecastErrors(
            float(off.min()),
            float(off.mean()),
            float(np.linalg.norm(constant[steps] - true[steps], axis=-1).mean()),
        )
