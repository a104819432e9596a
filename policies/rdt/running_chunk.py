"""`RunningChunk`: what the arm executes at present, as the network gave it, for the next chunk to go on with."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from policies.interface import Continuation
from policies.rdt.embodiment import Embodiment
from policies.rdt.prefix import Prefix
from policies.rdt.unified_space import SIZE, slots_of

MAX_DEVIATION = 0.2  # rad (m)
# Demonstrations switch them from one row to the next, and a pull towards the old value would delay that.
ABRUPT = ("gripper", "base")


class _Chunk(NamedTuple):
    stamp: float
    state: NDArray[np.float64]
    vectors: Tensor


class RunningChunk:
    """The newest chunk in the unified space, and when its rows are due.

    Args:
        embodiment: of the robot that executes it.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        self._embodiment = embodiment
        self._smooth = np.array([not any(word in name for word in ABRUPT) for name in embodiment.names])
        self._slots = _marked([n for n, smooth in zip(embodiment.names, self._smooth, strict=True) if smooth])
        # The newest chunk and the one before it, which the arm executes until the newest has come.
        self._chunks: deque[_Chunk] = deque(maxlen=2)

    def forget(self) -> None:
        """Nothing runs: another episode begins."""
        self._chunks.clear()

    def remember(self, stamp: float, state: ArrayLike, vectors: Tensor) -> None:
        """Take a new chunk (T, 128) that answers the observation of a stamp, seconds, with a state (k,)."""
        self._chunks.append(_Chunk(stamp, np.asarray(state), vectors))

    def prefix(self, stamp: float, state: ArrayLike, continuation: Continuation) -> Prefix | None:
        """What the chunk for an observation must agree with.

        None if nothing runs, or nothing is left of it, or the arm is elsewhere than the chunk says: it was stopped, and
        what is left of the plan no longer begins where the arm is. The arm may still follow the chunk before, and be
        late by as long as an answer takes, as it is after the first one, for which it had to wait.

        Args:
            stamp: of the observation, seconds.
            state: (k,) measured, as the embodiment's state.
            continuation: how to go on.
        """
        if continuation.discarded and self._chunks:
            self._chunks.pop()
        if not self._chunks:
            return None
        running = self._chunks[-1]
        passed, spacing = self._passed(running, stamp), self._embodiment.spacing(len(running.vectors))
        if not 0 < passed < spacing.steps:
            return None
        if not any(self._leads_past(state, chunk, stamp, continuation.committed) for chunk in self._chunks):
            return None
        rows = spacing.later(running.vectors.double().cpu().numpy(), passed)
        rows = torch.from_numpy(rows + self._embodiment.shift(running.state, state)).to(running.vectors)
        overlap = spacing.rows_within(spacing.steps - passed)
        return Prefix(
            actions=rows,
            committed=min(spacing.rows_within(continuation.committed), overlap),
            overlap=overlap,
            mode="guided" if continuation.method == "select" else continuation.method,
            beta=continuation.beta,
            schedule=continuation.schedule,
            jacobian=continuation.jacobian,
            slots=self._slots.to(rows.device),
        )

    def _passed(self, chunk: _Chunk, stamp: float) -> int:
        """Commands of a chunk that are due at a stamp."""
        return round((stamp - chunk.stamp) * self._embodiment.control_hz)

    def _leads_past(self, state: ArrayLike, chunk: _Chunk, stamp: float, late: int) -> bool:
        """Whether a chunk had the arm near a state at a stamp, or at most `late` commands earlier."""
        passed, spacing = self._passed(chunk, stamp), self._embodiment.spacing(len(chunk.vectors))
        rows = self._embodiment.action_from_unified(chunk.vectors.double().cpu().numpy(), chunk.state)
        way = spacing.to_steps(rows)[max(0, passed - 1 - late) : max(0, passed)]
        off = np.abs(way - np.asarray(state))[:, self._smooth]
        return bool((off <= MAX_DEVIATION).all(axis=1).any())


def _marked(names: Sequence[str]) -> Tensor:
    slots = torch.zeros(SIZE)
    slots[torch.from_numpy(slots_of(names))] = 1.0
    return slots
