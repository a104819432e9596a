"""Starting, watching and stopping a set of processes so that none survives its supervisor.

Each process leads a session of its own: a Ctrl-C in the terminal reaches only the supervisor, which then stops the
processes in order. The kernel kills them when the supervisor itself dies, even by SIGKILL (Linux); one that has last
words to say, such as a hold of the arm, gets SIGTERM then and must end by itself.
"""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TextIO

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_OUTPUT_DRAIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended.

    Attributes:
        name: its name.
        code: exit code, or minus the number of the signal that killed it.
    """

    name: str
    code: int

    def __str__(self) -> str:
        if self.code < 0:
            return f"{self.name} was killed by {signal.Signals(-self.code).name}"
        return f"{self.name} ended with exit code {self.code}"


@dataclass(frozen=True, slots=True)
class StopLimits:
    """Seconds that a process gets after each signal before the next, harder one.

    Attributes:
        interrupt_s: after SIGINT, for an orderly end.
        terminate_s: after SIGTERM; then follows SIGKILL.
    """

    interrupt_s: float = 5.0
    terminate_s: float = 3.0


class Supervisor:
    """Runs named processes; ends them in reverse order of their start.

    Use it as a context manager: leaving the block stops whatever still runs. Start processes from a thread that lives
    as long as the supervisor, because Linux ties the death signal to the thread that made the child.

    Args:
        environment: environment of every process; None inherits this one's.
        limits: patience while stopping.
        output: where the processes' lines go, each behind its process's name; None discards them.
    """

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        limits: StopLimits | None = None,
        output: TextIO | None = sys.stderr,
    ) -> None:
        self._environment = None if environment is None else dict(environment)
        self._limits = limits or StopLimits()
        self._output = output
        self._output_lock = threading.Lock()
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._printers: dict[str, threading.Thread] = {}
        self._ends: queue.SimpleQueue[Exit | None] = queue.SimpleQueue()

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name, of ended processes too."""
        return {name: process.pid for name, process in self._processes.items()}

    def start(self, name: str, command: Sequence[str], last_words: bool = False) -> None:
        """Start one process.

        Args:
            name: its name.
            command: its command line.
            last_words: whether it gets SIGTERM instead of SIGKILL when the supervisor dies.

        Raises:
            ValueError: the name is taken.
            OSError: the command cannot be run.
        """
        if name in self._processes:
            raise ValueError(f"process name: expected one not in {sorted(self._processes)}, found {name!r}")
        process = subprocess.Popen(
            list(command),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            bufsize=1,
            start_new_session=True,
            preexec_fn=partial(die_with_parent, os.getpid(), signal.SIGTERM if last_words else signal.SIGKILL),
        )
        self._processes[name] = process
        self._printers[name] = threading.Thread(target=self._print_lines, args=(name, process), daemon=True)
        self._printers[name].start()
        threading.Thread(target=self._report_end, args=(name, process), daemon=True).start()

    def wait(self, timeout_s: float | None = None) -> Exit | None:
        """Block until the next process ends, `wake` is called, or the time is over.

        Returns:
            How the process ended, or None.
        """
        try:
            return self._ends.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def wake(self) -> None:
        """Make `wait` return None; safe in a signal handler."""
        self._ends.put(None)

    def stop(self) -> dict[str, Exit]:
        """Stop what still runs, last started first: SIGINT, then SIGTERM, then SIGKILL, each with its limit.

        Returns:
            How every process ended, by name.
        """
        for process in reversed(self._processes.values()):
            self._stop_one(process)
        for printer in self._printers.values():
            printer.join(_OUTPUT_DRAIN_S)
        return {name: Exit(name, process.wait()) for name, process in self._processes.items()}

    def _stop_one(self, process: subprocess.Popen[str]) -> None:
        ladder = ((signal.SIGINT, self._limits.interrupt_s), (signal.SIGTERM, self._limits.terminate_s))
        for number, limit_s in ladder:
            if process.poll() is not None:
                break
            _signal_group(process.pid, number)
            try:
                process.wait(limit_s)
            except subprocess.TimeoutExpired:
                continue
        # Children of an ended process stay in its group.
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()

    def _print_lines(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None  # opened as a pipe above
        with process.stdout:
            for line in process.stdout:
                if self._output is not None:
                    with self._output_lock:
                        self._output.write(f"[{name}] {line.rstrip()}\n")
                        self._output.flush()

    def _report_end(self, name: str, process: subprocess.Popen[str]) -> None:
        self._ends.put(Exit(name, process.wait()))


def _signal_group(leader: int, number: signal.Signals) -> None:
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return


def die_with_parent(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel signal this process when its parent's thread that made it ends (Linux; elsewhere without effect).

    Args:
        parent: process id of the parent, to notice that it has ended already.
        number: the signal.
    """
    if _LIBC is None:
        return
    if _LIBC.prctl(_PR_SET_PDEATHSIG, number) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
