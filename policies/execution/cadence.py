"""`Cadence`: which of the observations that come are used, where cameras are faster than a policy is to be asked."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

# An observation this share of a period after the last one that was used is used: pictures come with some jitter.
PERIOD_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class QueryConfig:
    """When a policy is asked in realtime.

    Attributes:
        query_steps: control steps from one observation that is answered to the next; 0 for as many as the policy's own
            files say, which is 1 where they do not.
        queue_share: most of a chunk, from 0 to 1, that may be left when the next one is asked for; 1 for no matter how
            much. 0 waits: the policy is asked when a chunk has ended, the arm rests meanwhile, and the next chunk
            begins when it is there; the gateway's `command_timeout_s` must then be longer than a chunk and an answer.
    """

    query_steps: int = field(default=0, metadata={"range": (0, 1000)})
    queue_share: float = field(default=1.0, metadata={"range": (0.0, 1.0)})

    @property
    def waits(self) -> bool:
        """Whether the arm rests until the next chunk is there."""
        return self.queue_share == 0.0


class Cadence:
    """Thins observations out; the policy's node and the conversion of recordings use the same rule.

    Args:
        hz: wanted rate; None takes every observation.
        steps: of this rate, one observation is taken of so many.
        queue_share: see `QueryConfig`; below 1 the owner tells of what was `planned`.
    """

    def __init__(self, hz: float | None = None, steps: int = 1, queue_share: float = 1.0) -> None:
        self._spacing = 0.0 if hz is None else (steps - 1 + PERIOD_SHARE) / hz
        self._queue_share = queue_share
        self.reset()

    def due(self, stamp: float) -> bool:
        """Whether the observation with this stamp (s) is to be used."""
        return stamp >= self._next and stamp >= self._short_from

    def use(self, stamp: float) -> None:
        """Note that it was used."""
        self._next = stamp + self._spacing if self._spacing else -math.inf
        if self._queue_share < 1.0:
            self._short_from = math.inf  # until its answer has come

    def planned(self, begin: float, end: float) -> None:
        """Note that the answer has come, a chunk from one time (s) to another."""
        self._short_from = end - self._queue_share * (end - begin) if self._queue_share < 1.0 else -math.inf

    def unanswered(self) -> None:
        """Note that no answer will come to the last one that was used."""
        self._short_from = -math.inf

    def reset(self) -> None:
        """Use the next one, whatever came before."""
        self._next = self._short_from = -math.inf
