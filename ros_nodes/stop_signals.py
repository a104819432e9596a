"""The signals that ask a process of the graph to end in order."""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time

# Longer than the slowest orderly end, that of a recording. An orphan has nobody to kill it when it hangs.
ORPHAN_LIMIT_S = 40
# The kernel tells of a parent's death when the first of its threads has died.
PARENT_ENDS_S = 1.0

_STOP = threading.Event()


def stop_requested() -> bool:
    """Whether one of the signals has come; callbacks that wait ask it, for nothing else would end their wait."""
    return _STOP.is_set()


def stop_on_signals() -> threading.Event:
    """The event that SIGINT and SIGTERM set from now on; must be called in the main thread.

    More signals skip nothing, not even while the interpreter shuts down, when Python would give SIGINT its deadly
    default back: `ros2 launch` sends one more to every node that still runs each time that another has ended.

    A process that is told to end after its parent has died is killed when it has not ended within `ORPHAN_LIMIT_S`.
    """
    parent = os.getppid()

    def ask_to_stop(*_: object) -> None:
        first = not _STOP.is_set()
        _STOP.set()
        if first:
            threading.Thread(target=_limit_an_orphan, args=(parent,), daemon=True).start()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
        atexit.register(signal.signal, number, signal.SIG_IGN)
    return _STOP


def _limit_an_orphan(parent: int) -> None:
    end = time.monotonic() + PARENT_ENDS_S
    while os.getppid() == parent:
        if time.monotonic() > end:
            return
        time.sleep(0.01)
    signal.alarm(ORPHAN_LIMIT_S)  # its default is to end the process, even one that no longer runs Python
