"""The joints' recent past: where they were at an image's stamp, and whether they rested."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

MAX_GAP_S = 0.1
"""Between two joint states further apart nothing is interpolated."""


class JointTrack:
    """Joint positions by stamp.

    Args:
        seconds: how much of the past is kept.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._samples: deque[tuple[float, NDArray[np.float64]]] = deque()

    def add(self, stamp: float, positions: NDArray[np.float64]) -> None:
        """Add positions (n,) at a stamp; one that jumps back clears the track, one that is known is left out."""
        if self._samples and stamp < self._samples[-1][0]:
            self._samples.clear()
        if self._samples and stamp == self._samples[-1][0]:
            return
        self._samples.append((stamp, positions))
        while self._samples[0][0] < stamp - self._seconds:
            self._samples.popleft()

    @property
    def newest(self) -> float:
        """Stamp of the newest sample; minus infinity before the first."""
        return self._samples[-1][0] if self._samples else -np.inf

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Stamps (m,) and positions (m, n)."""
        return np.array([stamp for stamp, _ in self._samples]), np.array([q for _, q in self._samples])

    def between(self, first: float, last: float) -> NDArray[np.float64]:
        """(m, n) positions from a stamp to another, interpolated at both.

        Raises:
            ValueError: the track does not cover the time, or has a gap in it.
        """
        stamps, positions = self.arrays()
        if not len(stamps) or stamps[0] > first or stamps[-1] < last:
            raise ValueError(f"joint states: expected from {first:.3f} to {last:.3f} s, found none at one of the ends")
        begin = int(np.searchsorted(stamps, first, side="right")) - 1
        end = int(np.searchsorted(stamps, last, side="left"))
        gap = float(np.diff(stamps[begin : end + 1]).max(initial=0.0))
        if gap > MAX_GAP_S:
            raise ValueError(f"joint states: expected at most {MAX_GAP_S} s apart, found {gap:.3f} s")
        inner = positions[begin + 1 : end]
        ends = [np.array([np.interp(at, stamps, joint) for joint in positions.T]) for at in (first, last)]
        return np.array([ends[0], *inner, ends[1]])
