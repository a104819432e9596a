"""The signals that ask a process of the graph to end in order."""

from __future__ import annotations

import atexit
import signal
import threading

_STOP = threading.Event()


def stop_requested() -> bool:
    """Whether one of the signals has come; callbacks that wait ask it, for nothing else would end their wait."""
    return _STOP.is_set()


def stop_on_signals() -> threading.Event:
    """The event that SIGINT and SIGTERM set from now on; must be called in the main thread.

    More signals skip nothing, not even while the interpreter shuts down, when Python would give SIGINT its deadly
    default back: `ros2 launch` sends one more to every node that still runs each time that another has ended.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: _STOP.set())
        atexit.register(signal.signal, number, signal.SIG_IGN)
    return _STOP
