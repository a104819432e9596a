from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass

import pytest

from ros_nodes.bringup import parse_arguments, run_graph
from ros_nodes.graphs import SIM_EVAL, Graph

PATIENCE_S = 15.0
WAITS = "import signal; signal.signal(signal.SIGINT, lambda *_: exit(0)); print('up', flush=True); signal.pause()"


@dataclass(frozen=True)
class Script:
    """Stands for a node: any Python source."""

    executable: str
    source: str

    def command(self, values) -> list[str]:
        return [sys.executable, "-c", self.source.format(**values)]


def graph_of(conductor: str, **sources: str) -> Graph:
    return Graph(tuple(Script(name, source) for name, source in sources.items()), {}, conductor)


def test_the_exit_code_is_that_of_the_conductor():
    assert run_graph(graph_of("runner", other=WAITS, runner="exit(0)"), {}) == 0
    assert run_graph(graph_of("runner", other=WAITS, runner="exit(3)"), {}) == 3


@pytest.mark.parametrize("death", ["exit(0)", "exit(5)", "import os; os.kill(os.getpid(), 9)"])
def test_the_end_of_any_other_node_is_a_failure(death, capfd):
    assert run_graph(graph_of("runner", other=death, runner=WAITS), {}, sys.stderr) == 1
    assert "other" in capfd.readouterr().err.split("[bringup]")[-1]


def test_arguments_reach_the_nodes():
    assert run_graph(graph_of("runner", runner="exit({code})"), {"code": "6"}) == 6


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_every_node_and_is_no_failure(number):
    source = f"""
    import sys
    from ros_nodes.bringup import run_graph
    from ros_nodes.graphs import Graph
    class Script:
        def __init__(self, name): self.executable = name
        def command(self, values): return [sys.executable, "-c", {WAITS!r} + "#" + self.executable]
    sys.exit(run_graph(Graph((Script("one"), Script("two")), {{}}, "two"), {{}}, sys.stdout))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(source)], stdout=subprocess.PIPE, text=True)
    try:
        seen = ""
        while seen.count("] up") < 2:
            assert select.select([process.stdout], [], [], PATIENCE_S)[0], f"no output after {seen!r}"
            seen += os.read(process.stdout.fileno(), 4096).decode()
        process.send_signal(number)
        rest, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
        assert "stopped on request" in rest
    finally:
        process.kill()
        process.wait()


def test_options_become_graph_arguments():
    graph, values = parse_arguments(["--graph", "sim_eval", "--policy", "noop", "--log-level", "debug"])
    assert graph is SIM_EVAL
    assert (values["policy"], values["log_level"], values["mode"]) == ("noop", "debug", "lockstep")


def test_an_unknown_option_or_value_is_refused(capsys):
    with pytest.raises(SystemExit):
        parse_arguments(["--mode", "sometimes"])
    assert "lockstep" in capsys.readouterr().err
    with pytest.raises(ValueError, match="sometimes"):
        SIM_EVAL.resolve({"mode": "sometimes"})
    with pytest.raises(ValueError, match="polcy"):
        SIM_EVAL.resolve({"polcy": "noop"})
