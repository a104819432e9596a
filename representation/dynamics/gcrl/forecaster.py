"""`Forecaster`: forecasts while tracked places come in, and an alarm where what is special to the place has changed."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from representation.dynamics.gcrl.model import GCRL


class TrackBreakError(ValueError):
    """Places that do not go on from those before: all that was followed has been forgotten."""


@dataclass(frozen=True)
class Window:
    """What was followed.

    Attributes:
        stamp: of the last step, seconds.
        agents: names of those who were seen all the time.
        past: (observed, agents, 2) metres.
    """

    stamp: float
    agents: tuple[str, ...]
    past: NDArray[np.float32]


@dataclass(frozen=True)
class Forecast:
    """What may follow a window.

    Attributes:
        window: that it follows.
        samples: (K, future, agents, 2) metres; in each sample all agents move together.
        shift: how far s lies from where it lay at first, in deviations; None before that is known.
    """

    window: Window
    samples: NDArray[np.float32]
    shift: float | None


class TrackWindows:
    """Follows agents by name, at the times of their stamps.

    Args:
        observed: steps of a window.
        period_s: between them.
        max_gap_s: between two messages, and between two places of an agent.
        max_agents: in a message.
    """

    def __init__(self, observed: int, period_s: float, max_gap_s: float, max_agents: int) -> None:
        self._length_s, self._max_gap_s, self._max_agents = (observed - 1) * period_s, max_gap_s, max_agents
        self._before_s = period_s * np.arange(observed - 1, -1, -1)
        self._seen: dict[str, deque[tuple[float, float, float]]] = {}
        self._stamp: float | None = None

    def clear(self) -> None:
        """Forget everybody."""
        self._seen.clear()
        self._stamp = None

    def add(self, stamp: float, places: Mapping[str, tuple[float, float]]) -> None:
        """Take the places of all agents at a time, seconds and metres.

        Raises:
            TrackBreakError: the stamp lies before the last one, or too far after it; these places begin anew.
            ValueError: too many agents, or places that are not finite; nothing is taken.
        """
        if len(places) > self._max_agents:
            raise ValueError(f"agents: expected at most {self._max_agents}, found {len(places)}")
        wrong = [name for name, place in places.items() if not np.isfinite(place).all()]
        if wrong or not np.isfinite(stamp):
            raise ValueError(f"places: expected finite numbers, found others of {wrong or 'the stamp'}")
        last = self._stamp
        broken = last is not None and not 0 < stamp - last <= self._max_gap_s
        if broken:
            self.clear()
        self._stamp = stamp
        for name in set(self._seen) - set(places):
            if stamp - self._seen[name][-1][0] > self._max_gap_s:
                del self._seen[name]
        for name, (x, y) in places.items():
            seen = self._seen.setdefault(name, deque())
            if seen and stamp - seen[-1][0] > self._max_gap_s:
                seen.clear()
            seen.append((stamp, x, y))
            while len(seen) > 1 and seen[1][0] <= stamp - self._length_s:
                seen.popleft()
        if broken:
            raise TrackBreakError(
                f"stamp: expected one up to {self._max_gap_s:g} s after {last:.3f}, found {stamp:.3f}"
            )

    def window(self) -> Window | None:
        """Those who are there now and were followed through a whole window; None if nobody was."""
        if self._stamp is None:
            return None
        times = self._stamp - self._before_s
        names, tracks = [], []
        for name, seen in sorted(self._seen.items()):
            if seen[-1][0] == self._stamp and seen[0][0] <= times[0] + 1e-6:
                at, x, y = np.array(seen).T
                names.append(name)
                tracks.append(np.stack([np.interp(times, at, x), np.interp(times, at, y)], axis=-1))
        if not names:
            return None
        return Window(self._stamp, tuple(names), np.stack(tracks, axis=1).astype(np.float32))


class ShiftAlarm:
    """How far the newest s lie from the first ones.

    Args:
        first: windows that tell where s lies, and how far it scatters.
        newest: windows whose mean is compared with theirs.
    """

    def __init__(self, first: int, newest: int) -> None:
        self._first: list[NDArray[np.float64]] = []
        self._newest: deque[NDArray[np.float64]] = deque(maxlen=newest)
        self._counts = first, newest

    def shift(self, s: NDArray[np.float64]) -> float | None:
        """Largest distance of the means along any number of s (s_dim,), in deviations of the first; None before."""
        if len(self._first) < self._counts[0]:
            self._first.append(s)
            return None
        self._newest.append(s)
        if len(self._newest) < self._counts[1]:
            return None
        first = np.array(self._first)
        return float((np.abs(np.mean(self._newest, axis=0) - first.mean(axis=0)) / (first.std(axis=0) + 1e-9)).max())


class Forecaster:
    """A model that foretells one window after the other.

    Args:
        model: trained; one for pairs waits for windows of two agents.
        samples: futures of each forecast.
        alarm: of the environment.
        seed: of the samples.
    """

    def __init__(self, model: GCRL, samples: int, alarm: ShiftAlarm, seed: int = 0) -> None:
        self.model = model.eval()
        self._samples, self._alarm = samples, alarm
        self._generator = torch.Generator().manual_seed(seed)

    def foretell(self, window: Window) -> Forecast:
        """Futures that may follow.

        Raises:
            ValueError: a window that the model does not take.
        """
        past = torch.from_numpy(window.past)[None]
        futures = self.model.predict(past, self._samples, self._generator)[:, 0].numpy()
        with torch.no_grad():
            s = self.model.posteriors(past)[1].mean.reshape(-1, self.model.config.s_dim).mean(dim=0)
        return Forecast(window, futures, self._alarm.shift(s.double().numpy()))
