from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from ros_nodes.supervision import StopLimits, Supervisor

PATIENCE_S = 10.0
STUBBORN = """
import signal, sys
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: print("ignored", number, flush=True))
print("ready", flush=True)
while True:
    signal.pause()
"""
POLITE = """
import signal, sys
signal.signal(signal.SIGINT, lambda number, frame: sys.exit(0))
print("ready", flush=True)
signal.pause()
"""


class Lines(io.StringIO):
    """Collects output and tells when a text has come."""

    def wait_for(self, text: str) -> None:
        limit = time.monotonic() + PATIENCE_S
        while text not in self.getvalue():
            if time.monotonic() > limit:
                pytest.fail(f"expected {text!r} in the output, found {self.getvalue()!r}")
            time.sleep(0.01)


def python(source: str) -> list[str]:
    return [sys.executable, "-c", source]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"


def test_lines_carry_the_name_of_their_process():
    lines = Lines()
    with Supervisor(output=lines) as supervisor:
        supervisor.start("greeter", python("print('hello')"))
        assert supervisor.wait(PATIENCE_S).code == 0
    assert lines.getvalue() == "[greeter] hello\n"


def test_the_end_of_any_process_is_reported_with_its_code():
    lines = Lines()
    with Supervisor(output=lines) as supervisor:
        supervisor.start("polite", python(POLITE))
        lines.wait_for("[polite] ready")
        supervisor.start("broken", python("raise SystemExit(7)"))
        end = supervisor.wait(PATIENCE_S)
    assert (end.name, end.code) == ("broken", 7)


def test_an_orderly_process_ends_on_interrupt_and_a_stubborn_one_is_killed():
    lines = Lines()
    supervisor = Supervisor(output=lines, limits=StopLimits(interrupt_s=0.3, terminate_s=0.2))
    supervisor.start("stubborn", python(STUBBORN))
    lines.wait_for("[stubborn] ready")
    slow = Supervisor(output=lines)
    slow.start("polite", python(POLITE))
    lines.wait_for("[polite] ready")
    assert slow.stop()["polite"].code == 0
    assert supervisor.stop()["stubborn"].code == -signal.SIGKILL
    assert f"ignored {int(signal.SIGINT)}" in lines.getvalue()
    assert f"ignored {int(signal.SIGTERM)}" in lines.getvalue()


def test_the_last_started_stops_first():
    lines = Lines()
    farewell = POLITE.replace("sys.exit(0)", "(print('bye', flush=True), sys.exit(0))")
    with Supervisor(output=lines) as supervisor:
        for name in ("first", "second"):
            supervisor.start(name, python(farewell))
            lines.wait_for(f"[{name}] ready")
    assert lines.getvalue().index("[second] bye") < lines.getvalue().index("[first] bye")


def test_children_of_a_process_end_with_it():
    lines = Lines()
    source = f"""
    import subprocess, sys
    child = subprocess.Popen([sys.executable, "-c", {STUBBORN!r}])
    print("child", child.pid, flush=True)
    child.wait()
    """
    limits = StopLimits(interrupt_s=0.3, terminate_s=0.2)
    with Supervisor(output=lines, limits=limits) as supervisor:
        supervisor.start("parent", python(textwrap.dedent(source)))
        lines.wait_for("ready")
    child = int(lines.getvalue().split("child ")[1].split()[0])
    limit = time.monotonic() + PATIENCE_S
    while is_alive(child) and time.monotonic() < limit:
        time.sleep(0.01)
    assert not is_alive(child)


def test_wake_ends_a_wait():
    with Supervisor() as supervisor:
        supervisor.wake()
        assert supervisor.wait(PATIENCE_S) is None


def test_a_name_can_be_started_once():
    with Supervisor(output=None) as supervisor:
        supervisor.start("one", python("pass"))
        with pytest.raises(ValueError, match="'one'"):
            supervisor.start("one", python("pass"))


LAST_WORDS = """
import pathlib, signal, sys
from ros_nodes import stop_signals
stop_signals.ORPHAN_LIMIT_S = 1
stop = stop_signals.stop_on_signals()
print("ready", flush=True)
stop.wait()
pathlib.Path({path!r}).write_text("last words")
while {hangs}:
    pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal exists on Linux only")
@pytest.mark.parametrize("hangs", [False, True])
def test_a_process_has_last_words_when_its_supervisor_is_killed_and_ends_even_if_it_hangs(tmp_path, hangs):
    spoken = tmp_path / "spoken"
    kill_supervisor_of(LAST_WORDS.format(path=str(spoken), hangs=hangs), last_words=True)
    assert spoken.read_text() == "last words"


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal exists on Linux only")
def test_no_process_survives_a_killed_supervisor():
    kill_supervisor_of(STUBBORN, last_words=False)


def kill_supervisor_of(child: str, last_words: bool) -> None:
    """Start a process, kill its supervisor, and wait for the process to end."""
    source = f"""
    import sys
    from ros_nodes.supervision import Supervisor
    supervisor = Supervisor(output=sys.stdout)
    supervisor.start("stubborn", [sys.executable, "-c", {child!r}], last_words={last_words})
    print("pid", supervisor.pids["stubborn"], flush=True)
    supervisor.wait()
    """
    parent = subprocess.Popen(python(textwrap.dedent(source)), stdout=subprocess.PIPE, text=True)
    try:
        seen = ""
        while "ready" not in seen:
            assert select.select([parent.stdout], [], [], PATIENCE_S)[0], f"no output, so far {seen!r}"
            seen += parent.stdout.readline()
        child = int(seen.split("pid ")[1].split()[0])
        end = os.pidfd_open(child)
        try:
            parent.kill()
            assert select.select([end], [], [], PATIENCE_S)[0], "the child outlived its supervisor"
        finally:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(end, signal.SIGKILL)
            os.close(end)
    finally:
        with contextlib.suppress(ProcessLookupError):
            parent.kill()
        parent.wait()
        parent.stdout.close()
