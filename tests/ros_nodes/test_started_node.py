"""What `node_process` says of nodes that do not end as they should. None of these is a ROS node."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.ros_nodes import started_node
from tests.ros_nodes.started_node import node_process

PATIENCE_S = 60.0
READY = "pathlib.Path(__file__).with_suffix('.ready').write_text(str(child.pid if child else 0))"
SCRIPT = """
import pathlib, signal, subprocess, sys, time
child = None
{what}
{ready}
while True:
    time.sleep(0.01)
"""
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
ENDS_WELL = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))"
ENDS_BADLY = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))"
PARENT = "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"


def run(folder: Path, *what: str, ends: int = 0) -> int:
    """Start a script, let `node_process` end it once it is ready, and return the process id of its child."""
    script = folder / "script.py"
    script.write_text(SCRIPT.format(what="\n".join(what), ready=READY))
    with node_process(str(script), "/nobody", ends=ends):
        limit = time.monotonic() + PATIENCE_S
        ready = script.with_suffix(".ready")
        while not ready.exists() or not ready.read_text():
            assert time.monotonic() < limit, "expected the script to be ready"
            time.sleep(0.01)
    return int(ready.read_text())


@pytest.mark.parametrize(("end", "code"), [(ENDS_WELL, 0), (ENDS_BADLY, 3)])
def test_a_node_that_ends_as_expected_passes(tmp_path, end, code):
    run(tmp_path, end, ends=code)


def test_another_exit_code_is_told(tmp_path):
    with pytest.raises(AssertionError, match="expected exit code 0, found 3"):
        run(tmp_path, ENDS_BADLY)


def test_a_node_that_hangs_is_killed_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr(started_node, "END_LIMIT_S", 0.2)
    with pytest.raises(AssertionError, match=r"expected to end within 0.2 s of SIGTERM, had to be killed"):
        run(tmp_path, DEAF)


def test_a_process_that_a_node_leaves_behind_is_killed_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr(started_node, "END_LIMIT_S", 5.0)
    with pytest.raises(AssertionError, match="expected to leave no process behind"):
        run(tmp_path, ENDS_WELL, PARENT)
    child, limit = int((tmp_path / "script.ready").read_text()), time.monotonic() + PATIENCE_S
    while runs(child):
        assert time.monotonic() < limit, "expected the child to be dead"
        time.sleep(0.01)


def runs(process: int) -> bool:
    """Whether a process lives; one that is dead and not yet waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
