"""The graph of a real arm whose bring-up is killed, and whose status page dies, while the arm moves."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ros_nodes.graphs import GRAPHS
from tests.ros_nodes.fake_robot import PATIENCE_S, FakeRobot
from tests.ros_nodes.started_node import REPOSITORY

KNOTS = 80
MOTION_S = 0.1 * KNOTS  # of `ramp`; the gateway makes it longer still
HOLD_S = 4.0  # to notice, to brake, and for a busy machine
END_S = 30.0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal exists on Linux only")


@contextmanager
def real_arm(namespace: str, log: Path, *options: str) -> Iterator[subprocess.Popen]:
    """Bring up the graph as a user does; nothing is left of it, whatever happens."""
    words = ["--graph", "real_arm", "--robot", "panda", "--policy", "noop", "--shadow", "false"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ros_nodes.bringup", *words, "--namespace", namespace, *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
    children: dict[str, int] = {}
    try:
        yield process
        children = nodes_of(process)
    finally:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for child in children.values():
            ended(child)
        print(log.read_text())  # pytest shows it where the test fails


def nodes_of(bringup: subprocess.Popen) -> dict[str, int]:
    """Process ids of the nodes, by name."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            parent = next(line for line in status.read_text().splitlines() if line.startswith("PPid:"))
            words = (status.parent / "cmdline").read_text().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent.split()[1]) == bringup.pid and "-m" in words:
            found[words[words.index("-m") + 1].removeprefix("ros_nodes.")] = int(status.parent.name)
    return found


def ended(pid: int) -> bool:
    """Wait until a process that is not our child has ended."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], END_S)[0])
    finally:
        os.close(process)


def set_in_motion(robot: FakeRobot) -> None:
    """Lead the arm for seconds with one trajectory, sent again while the gateway is not ready for it."""

    def moves() -> bool:
        if robot.rests():
            robot.plan(robot.ramp(KNOTS))
        return not robot.rests()

    robot.wait_until_heard()
    robot.wait_for(moves, "motion")


def test_a_killed_bringup_leaves_an_arm_at_rest_and_no_process(tmp_path):
    with FakeRobot("/killed_bringup") as robot, real_arm(robot.namespace, tmp_path / "log") as bringup:
        robot.wait_for(lambda: len(nodes_of(bringup)) == 2, "gateway and policy", PATIENCE_S)
        nodes = nodes_of(bringup)
        set_in_motion(robot)
        bringup.send_signal(signal.SIGKILL)
        robot.wait_for(robot.rests, f"an arm at rest long before its motion of {MOTION_S:g} s is over", HOLD_S)
        assert set(nodes) == {"arm_gateway_node", "policy_node"}
        for name, pid in nodes.items():
            assert ended(pid), f"{name} outlived bringup by {END_S:g} s"
        # It stays there: the last command is a hold.
        assert robot.rests()


def test_a_dead_status_page_changes_nothing(tmp_path):
    options = ("--dashboard", "true", "--dashboard-port", "0")
    with FakeRobot("/dead_page") as robot, real_arm(robot.namespace, tmp_path / "log", *options) as bringup:
        robot.wait_for(lambda: len(nodes_of(bringup)) == len(GRAPHS["real_arm"].nodes), "all nodes")
        page = nodes_of(bringup)["dashboard"]
        os.kill(page, signal.SIGKILL)
        robot.wait_for(lambda: "the graph goes on without it" in (tmp_path / "log").read_text(), "word of its end")
        set_in_motion(robot)
        assert bringup.poll() is None
        assert set(nodes_of(bringup)) == {"arm_gateway_node", "policy_node"}
