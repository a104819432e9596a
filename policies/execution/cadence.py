"""`Cadence`: which of the observations that come are used, where cameras are faster than the control rate."""

from __future__ import annotations

import math

# An observation this share of a period after the last one that was used is used: pictures come with some jitter.
PERIOD_SHARE = 0.9


class Cadence:
    """Thins observations out; the policy's node and the conversion of recordings use the same rule.

    Args:
        hz: wanted rate; None takes every observation.
    """

    def __init__(self, hz: float | None = None) -> None:
        self._spacing = 0.0 if hz is None else PERIOD_SHARE / hz
        self._next = -math.inf

    def due(self, stamp: float) -> bool:
        """Whether the observation with this stamp (s) is to be used."""
        return stamp >= self._next

    def use(self, stamp: float) -> None:
        """Note that it was used."""
        self._next = stamp + self._spacing if self._spacing else -math.inf

    def reset(self) -> None:
        """Use the next one, whatever came before."""
        self._next = -math.inf
