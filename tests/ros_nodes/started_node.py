"""A node as a process of its own, for tests: it must end as it should, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
END_LIMIT_S = 30.0


@contextmanager
def node_process(
    node: str, namespace: str, *parameters: str, remap: Sequence[str] = (), ends: int = 0
) -> Iterator[subprocess.Popen]:
    """Run a node as a process; no process is left behind.

    Fails where the node, which is asked to end by SIGTERM unless it has ended, does not, or with another exit code, or
    leaves a process that it started.

    Args:
        node: a module of `ros_nodes`, or the path of a script.
        namespace: of the node.
        *parameters: in the form `name:=value`.
        remap: names in the form `from:=to`.
        ends: expected exit code; that of a signal is negative.
    """
    target = [node] if node.endswith(".py") else ["-m", f"ros_nodes.{node}"]
    arguments = [part for rule in (f"__ns:={namespace}", *remap) for part in ("-r", rule)]
    arguments += [part for parameter in parameters for part in ("-p", parameter)]
    # A file: a pipe that nobody reads would stop a node that talks much.
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, *target, "--ros-args", *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])},
            start_new_session=True,
        )
        try:
            yield process
        finally:
            ended, alone = end_session(process)
            output.seek(0)
            print(output.read())  # pytest shows it where the test fails
        assert ended, f"{node}: expected to end within {END_LIMIT_S} s of SIGTERM, had to be killed"
        assert process.returncode == ends, f"{node}: expected exit code {ends}, found {process.returncode}"
        assert alone, f"{node}: expected to leave no process behind, had to kill some"


def end_session(process: subprocess.Popen) -> tuple[bool, bool]:
    """End a process that leads a session, and whatever it started there.

    Returns:
        Whether it ended without being killed, and whether all that it started did.
    """
    process.terminate()
    ended = alone = True
    try:
        process.wait(END_LIMIT_S)
    except subprocess.TimeoutExpired:
        ended = False
    limit = time.monotonic() + (END_LIMIT_S if ended else 0.0)
    with suppress(ProcessLookupError):  # nobody is left
        while time.monotonic() < limit:
            os.killpg(process.pid, 0)
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        alone = not ended
    process.wait()
    return ended, alone
