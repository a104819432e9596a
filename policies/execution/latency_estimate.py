"""`LatencyEstimate`: how long the next inference may take, from those before."""

from __future__ import annotations

from collections import deque

WINDOW = 20


class LatencyEstimate:
    """The longest of the last inferences; the first of all, which is slow because everything is new, does not count."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._recent: deque[float] = deque(maxlen=WINDOW)

    def add(self, seconds: float) -> None:
        """Note how long an inference took."""
        if self._first is None:
            self._first = seconds
        else:
            self._recent.append(seconds)

    @property
    def seconds(self) -> float:
        """Estimate; that of the first inference before there is another, 0 before any."""
        return max(self._recent, default=self._first or 0.0)
