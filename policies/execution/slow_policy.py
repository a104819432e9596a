"""`SlowPolicy`: a policy that takes at least some time for each answer, to see what the graph makes of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from policies.interface import Policy

_ANSWERS = ("act", "act_batch", "act_on")


class SlowPolicy:
    """Answers as another policy does, with all its attributes, but not sooner than after some time.

    Args:
        policy: the policy that answers.
        least_s: seconds that an answer takes at least.
        sleep: waits so many seconds.
        timer: seconds of a steady clock.
    """

    def __init__(
        self,
        policy: Policy,
        least_s: float,
        sleep: Callable[[float], object] = time.sleep,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._policy = policy
        self._least_s = least_s
        self._sleep = sleep
        self._timer = timer

    def __getattr__(self, name: str) -> Any:
        """The policy's own; methods that answer take their time."""
        found = getattr(self._policy, name)
        return self._delayed(found) if name in _ANSWERS else found

    def _delayed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def answer(*args: Any, **kwargs: Any) -> Any:
            begun = self._timer()
            found = method(*args, **kwargs)
            self._sleep(max(0.0, self._least_s - (self._timer() - begun)))
            return found

        return answer
