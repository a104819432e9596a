"""`RunningChunk`: what the arm executes at present, as the network gave it, for the next chunk to go on with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from policies.interface import Continuation
from policies.rdt.embodiment import Embodiment
from policies.rdt.prefix import Prefix
from policies.rdt.unified_space import SIZE, slots_of

MAX_DEVIATION = 0.2  # rad (m)
# Demonstrations switch them from one row to the next, and a pull towards the old value would delay that.
ABRUPT = ("gripper", "base")


class RunningChunk:
    """The newest chunk in the unified space, and when its rows are due.

    Args:
        embodiment: of the robot that executes it.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        self._embodiment = embodiment
        self._smooth = np.array([not any(word in name for word in ABRUPT) for name in embodiment.names])
        self._slots = _marked([n for n, smooth in zip(embodiment.names, self._smooth, strict=True) if smooth])
        self._stamp = 0.0
        self._vectors: Tensor | None = None

    def forget(self) -> None:
        """Nothing runs: another episode begins."""
        self._vectors = None

    def remember(self, stamp: float, vectors: Tensor) -> None:
        """Take a new chunk (T, 128) that answers the observation of a stamp, seconds."""
        self._stamp, self._vectors = stamp, vectors

    def prefix(self, stamp: float, state: ArrayLike, continuation: Continuation) -> Prefix | None:
        """What the chunk for an observation must agree with.

        None if nothing runs, or nothing is left of it, or the arm is elsewhere than the chunk says: it was stopped, and
        what is left of the plan no longer begins where the arm is.

        Args:
            stamp: of the observation, seconds.
            state: (k,) measured, as the embodiment's state.
            continuation: how to go on.
        """
        if self._vectors is None:
            return None
        rows = len(self._vectors)
        passed = round((stamp - self._stamp) * self._embodiment.control_hz)
        if not 0 < passed < rows:
            return None
        due = self._embodiment.action_from_unified(self._vectors[passed - 1].double().cpu().numpy())
        if (np.abs(due - np.asarray(state))[self._smooth] > MAX_DEVIATION).any():
            return None
        left = self._vectors[passed:]
        return Prefix(
            actions=torch.cat([left, left[-1:].expand(passed, -1)]),
            committed=min(continuation.committed, len(left)),
            overlap=len(left),
            mode="guided" if continuation.method == "select" else continuation.method,
            beta=continuation.beta,
            slots=self._slots.to(left.device),
        )


def _marked(names: Sequence[str]) -> Tensor:
    slots = torch.zeros(SIZE)
    slots[torch.from_numpy(slots_of(names))] = 1.0
    return slots
