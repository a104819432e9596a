"""`FaultyPolicy`: a policy that fails on demand, to see what the graph around it does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from policies.interface import ActionChunk, Observation, Policy, looks_back, may_lack_cameras, query_steps

PolicyFault = Literal["none", "nan", "inf", "huge", "jump", "slow", "raises", "out_of_memory"]

_BAD_VALUES = {"nan": float("nan"), "inf": float("inf"), "huge": 1e6}
JUMP = 1.0  # rad (m), of the first joint or axis
SLOWNESS = 1.5  # of the duration of a chunk


class FaultyPolicy:
    """Answers as another policy does, or wrongly.

    Args:
        policy: the policy that works.
        fault: tells what is wrong at the moment: `nan`, `inf` and `huge` spoil a value in the middle of the chunk,
            `jump` moves all rows aside, `slow` takes longer than a chunk lasts, `raises` and `out_of_memory` raise.
        sleep: waits so many seconds.
    """

    def __init__(
        self, policy: Policy, fault: Callable[[], PolicyFault], sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self.robot = policy.robot
        self.cameras = policy.cameras
        self.control_hz = policy.control_hz
        self.chunk_length = policy.chunk_length
        self.may_lack_cameras = may_lack_cameras(policy)
        self.looks_back = looks_back(policy)
        self.query_steps = query_steps(policy)
        self._policy = policy
        self._fault = fault
        self._sleep = sleep

    def reset(self, seed: int | None = None) -> None:
        """Reset the policy that works."""
        self._policy.reset(seed)

    def act(self, observation: Observation) -> ActionChunk:
        """Answer one observation, unless the fault forbids.

        Raises:
            RuntimeError: the fault is `raises`.
            MemoryError: the fault is `out_of_memory`.
        """
        fault = self._fault()
        if fault == "raises":
            raise RuntimeError("the policy fails as it was told to")
        if fault == "out_of_memory":
            raise MemoryError("no memory is left, as it was told to be")
        if fault == "slow":
            self._sleep(SLOWNESS * self.chunk_length / self.control_hz)
        chunk = self._policy.act(observation)
        rows = chunk.rows.copy()
        if fault == "jump":
            rows[:, 0] += JUMP
        elif fault in _BAD_VALUES:
            rows[len(rows) // 2, 0] = _BAD_VALUES[fault]
        return replace(chunk, rows=rows)

    def act_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """Answer the observations one after the other."""
        return [self.act(observation) for observation in observations]
