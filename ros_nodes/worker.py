"""`Worker`: one thread for what takes long, so that a node's callbacks stay short. Needs no ROS."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended: its value, or the exception that it raised."""

    value: Any = None
    error: BaseException | None = None


class Worker:
    """Runs one job at a time; of the jobs submitted meanwhile only the newest waits.

    Args:
        name: name of the thread.
        notify: called from the thread after each job; wakes whoever then calls `collect`.
    """

    def __init__(self, name: str, notify: Callable[[], object]) -> None:
        self._notify = notify
        self._condition = threading.Condition()
        self._waiting: Callable[[], Any] | None = None
        self._outcomes: deque[Outcome] = deque()
        self._stopping = False
        self._busy = False
        # A daemon: a job that hangs must not keep the process alive after its ordered end.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], Any]) -> bool:
        """Run a job when the thread is free; returns whether it replaced one that waited."""
        with self._condition:
            replaced = self._waiting is not None
            self._waiting = job
            self._condition.notify_all()
        return replaced

    @property
    def has_waiting(self) -> bool:
        """Whether a job waits for the thread."""
        with self._condition:
            return self._waiting is not None

    def collect(self) -> list[Outcome]:
        """Outcomes since the last call, oldest first."""
        with self._condition:
            outcomes = list(self._outcomes)
            self._outcomes.clear()
        return outcomes

    def wait(self, timeout_s: float) -> Outcome | None:
        """Wait for the next outcome; None if none came in time."""
        with self._condition:
            if not self._condition.wait_for(lambda: self._outcomes, timeout_s):
                return None
            return self._outcomes.popleft()

    def drain(self, timeout_s: float) -> bool:
        """Drop the waiting job and wait for the running one; returns whether it ended in time."""
        with self._condition:
            self._waiting = None
            return self._condition.wait_for(lambda: not self._busy, timeout_s)

    def stop(self, timeout_s: float) -> bool:
        """Drop the waiting job, let the running one finish; returns whether the thread ended in time."""
        with self._condition:
            self._stopping = True
            self._waiting = None
            self._condition.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting is not None or self._stopping)
                if self._stopping:
                    return
                job, self._waiting = self._waiting, None
                self._busy = True
            outcome = _outcome(job)
            with self._condition:
                self._outcomes.append(outcome)
                self._busy = False
                self._condition.notify_all()
            self._notify()


def _outcome(job: Callable[[], Any]) -> Outcome:
    try:
        return Outcome(value=job())
    except Exception as error:
        return Outcome(error=error)
