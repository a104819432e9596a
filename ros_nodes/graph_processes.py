"""`GraphProcesses`: processes that are started, signalled and replaced one by one while their graph runs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from ros_nodes.supervision import Exit, Supervisor


class GraphProcesses:
    """Each process has a supervisor of its own, because it may be replaced by another of the same name.

    Args:
        output: where the processes' lines go; None discards them.
    """

    def __init__(self, output: TextIO | None) -> None:
        self._output = output
        self._supervisors: dict[str, Supervisor] = {}
        self._paused: set[str] = set()

    def __contains__(self, name: str) -> bool:
        """Whether a process of that name was started and not stopped; it may have died."""
        return name in self._supervisors

    def start(self, name: str, words: Sequence[str]) -> None:
        """Start a process of this Python, after the one of the same name was stopped."""
        self.stop(name)
        supervisor = Supervisor(output=self._output)
        supervisor.start(name, [sys.executable, "-u", *words])
        self._supervisors[name] = supervisor

    def start_node(self, name: str, module: str, parameters: Mapping[str, Any]) -> None:
        """Start a module of `ros_nodes` with parameters."""
        words = ["-m", f"ros_nodes.{module}", "--ros-args"]
        for parameter, value in parameters.items():
            words += ["-p", f"{parameter}:={_as_yaml(value)}"]
        self.start(name, words)

    def end_of(self, name: str) -> Exit | None:
        """How a process ended; None while it runs. It is told once."""
        return self._supervisors[name].wait(0)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process."""
        os.kill(self._supervisors[name].pids[name], number)
        if number is signal.SIGSTOP:
            self._paused.add(name)
        elif number is signal.SIGCONT:
            self._paused.discard(name)

    def stop(self, name: str) -> None:
        """End a process in order, if it runs; one that was paused goes on first."""
        if name not in self._supervisors:
            return
        if name in self._paused:
            self.signal(name, signal.SIGCONT)
        self._supervisors.pop(name).stop()

    def stop_all(self) -> None:
        """End all of them, the last that was started first."""
        for name in reversed(list(self._supervisors)):
            self.stop(name)


def _as_yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_as_yaml(entry) for entry in value) + "]"
    return f"'{value}'" if isinstance(value, str) else str(value)
