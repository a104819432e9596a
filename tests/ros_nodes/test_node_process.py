from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PATIENCE_S = 20
NODE = """
import sys
from rclpy.node import Node
from ros_nodes.node_process import run_node

class Farewell(Node):
    def __init__(self):
        super().__init__("farewell")
        {constructor}
        self._timer = self.create_timer(0.01, self._tick)
        self._ticked = False

    def _tick(self):
        if not self._ticked:
            self._ticked = True
            print("ready", flush=True)
        {callback}

    def stop(self):
        print("last words, context valid:", self.context.ok(), flush=True)

{module}
sys.exit(run_node(Farewell))
"""


def start(constructor: str = "", callback: str = "", module: str = "") -> subprocess.Popen:
    return popen(NODE.format(constructor=constructor, callback=callback, module=module))


def popen(source: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize("signals", [(signal.SIGINT,), (signal.SIGTERM,), (signal.SIGINT, signal.SIGINT)])
def test_a_signal_ends_the_node_with_last_words_and_code_zero(signals):
    process = start()
    while "ready" not in process.stdout.readline():
        assert process.poll() is None
    for number in signals:
        process.send_signal(number)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output
    assert "last words, context valid: True" in output


def test_a_callback_that_raises_ends_the_node_in_order_with_code_one():
    process = start(callback="raise RuntimeError('broken wire')")
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "RuntimeError: broken wire" in output
    assert "last words, context valid: True" in output


def test_a_node_that_cannot_be_made_gives_code_two_and_the_reason():
    process = start(constructor="raise ValueError('robot: expected panda, found ur5')")
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert "node not started: robot: expected panda, found ur5" in output


LATE = """
import os, signal

class Late:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGINT, write=os.write):
        kill(pid, number)
        write(1, b"a late signal")

sys.late = Late()
"""


def test_a_signal_while_the_interpreter_ends_does_no_harm():
    process = start(module=LATE)
    while "ready" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output
    assert "a late signal" in output


LOADING = """
import sys, time
from ros_nodes.lifecycle_node import LoadingLifecycleNode
from ros_nodes.node_process import run_node

class Slow(LoadingLifecycleNode):
    def __init__(self):
        super().__init__("slow")
        self.start("panda", 600.0, True)

    def load(self):
        print("loading", flush=True)
        time.sleep({load_s})

    def loaded(self, result): pass
    def unloaded(self): pass
    def activated(self): pass
    def work_done(self, value): pass
    def concerns(self): return {{}}

    def refusal(self):
        return self.wait_for_connections(600.0, self.missing)

    def missing(self):
        print("waiting", flush=True)
        return "a camera, found none"

sys.exit(run_node(Slow))
"""


@pytest.mark.parametrize("load_s", [600, 0])
def test_a_signal_ends_a_node_that_waits_for_its_model_or_its_topics(load_s):
    process = popen(LOADING.format(load_s=load_s))
    awaited = "loading" if load_s else "waiting"
    while awaited not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output
    assert "the process was asked to end" in output
