"""`DelayLine`: runs what is handed to it later, as a slow cable would deliver it."""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter
from collections.abc import Callable

STOP_LIMIT_S = 5.0


class DelayLine:
    """Runs jobs when they are due, those of one stream in the order in which they came.

    A job without delay, behind which nothing of its stream waits, runs at once in the caller's thread; a thread of the
    line's own is started by the first job that must wait.

    Args:
        failed: called, from the line's thread, with what a job raised there; the line goes on.
        capacity: jobs that may wait; one more is dropped, and counted in `dropped`.
    """

    def __init__(self, failed: Callable[[Exception], None], capacity: int = 10_000) -> None:
        self.dropped = 0
        self._failed = failed
        self._capacity = capacity
        self._condition = threading.Condition()
        self._waiting: list[tuple[float, int, str, Callable[[], None]]] = []
        self._count = 0
        self._in_stream: Counter[str] = Counter()
        self._last_due: dict[str, float] = {}
        self._thread: threading.Thread | None = None
        self._ended = False

    @property
    def running(self) -> bool:
        """Whether the line has a thread."""
        return self._thread is not None

    def send(self, stream: str, delay_s: float, job: Callable[[], None]) -> None:
        """Run a job `delay_s` seconds from now; after `stop` nothing is run."""
        with self._condition:
            if self._ended:
                return
            at_once = delay_s <= 0 and not self._in_stream[stream]
            if not at_once:
                self._put(stream, time.monotonic() + delay_s, job)
        if at_once:
            job()

    def stop(self) -> None:
        """Drop what waits, and end the thread."""
        with self._condition:
            self._ended = True
            self._waiting.clear()
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join(STOP_LIMIT_S)

    def _put(self, stream: str, due: float, job: Callable[[], None]) -> None:
        if len(self._waiting) >= self._capacity:
            self.dropped += 1
            return
        if self._in_stream[stream]:
            due = max(due, self._last_due[stream])
        self._last_due[stream] = due
        self._in_stream[stream] += 1
        self._count += 1
        heapq.heappush(self._waiting, (due, self._count, stream, job))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="delay line", daemon=True)
            self._thread.start()
        self._condition.notify_all()

    def _run(self) -> None:
        while (entry := self._next()) is not None:
            stream, job = entry
            try:
                job()
            except Exception as error:
                self._failed(error)
            with self._condition:
                self._in_stream[stream] -= 1

    def _next(self) -> tuple[str, Callable[[], None]] | None:
        """Wait until a job is due; None when the line has ended."""
        with self._condition:
            while not self._ended:
                left = self._waiting[0][0] - time.monotonic() if self._waiting else None
                if left is not None and left <= 0:
                    _, _, stream, job = heapq.heappop(self._waiting)
                    return stream, job
                self._condition.wait(left)
        return None
