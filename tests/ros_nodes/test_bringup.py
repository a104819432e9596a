from __future__ import annotations

import ast
import json
import os
import select
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from policies.loading import CHECKPOINTS, SHORT_NAMES, shipped_policies
from ros_nodes.bringup import parse_arguments, run_graph
from ros_nodes.graphs import GRAPHS, SIM_EVAL, Graph
from sim.tasks import tasks_of

PATIENCE_S = 15.0
WAITS = "import signal; signal.signal(signal.SIGINT, lambda *_: exit(0)); print('up', flush=True); signal.pause()"


@dataclass(frozen=True)
class Script:
    """Stands for a node: any Python source."""

    executable: str
    source: str
    condition: str = ""
    last_words: bool = False
    needed: bool = True

    def command(self, values, arguments) -> list[str]:
        return [sys.executable, "-c", self.source.format(**values)]


def graph_of(conductor: str, **sources: str) -> Graph:
    return Graph(tuple(Script(name, source) for name, source in sources.items()), {}, conductor)


def test_the_exit_code_is_that_of_the_conductor():
    assert run_graph(graph_of("runner", other=WAITS, runner="exit(0)"), {}) == 0
    assert run_graph(graph_of("runner", other=WAITS, runner="exit(3)"), {}) == 3


@pytest.mark.parametrize("death", ["exit(0)", "exit(5)", "import os; os.kill(os.getpid(), 9)"])
def test_the_end_of_any_other_node_is_a_failure(death, capfd):
    assert run_graph(graph_of("runner", other=death, runner=WAITS), {}, sys.stderr) == 1
    assert "[bringup] other" in capfd.readouterr().err


def test_a_node_that_is_not_needed_may_end_alone(capfd):
    page = Script("page", "exit(5)", needed=False)
    runner = Script("runner", "import time; time.sleep(2)")
    assert run_graph(Graph((page, runner), {}, "runner"), {}, sys.stderr) == 0
    assert "page ended with exit code 5; the graph goes on without it" in capfd.readouterr().err


def test_whoever_drives_an_arm_has_last_words_and_only_the_status_page_may_end_alone():
    for graph in GRAPHS.values():
        assert {node.executable for node in graph.nodes if node.last_words} <= {"arm_gateway_node"}
        assert all(node.last_words for node in graph.nodes if node.executable == "arm_gateway_node")
        assert graph.dispensable <= {"dashboard"}
    assert GRAPHS["real_arm"].dispensable == {"dashboard"}


@pytest.mark.parametrize(("twin", "code"), [("true", 1), ("false", 0)])
def test_a_node_whose_condition_does_not_hold_is_not_started(twin, code):
    failing = Script("twin", "exit(1)", condition="twin")
    waiting = Script("runner", "import time; time.sleep(1)")
    assert run_graph(Graph((failing, waiting), {}, "runner"), {"twin": twin}, sys.stderr) == code


def test_arguments_reach_the_nodes():
    assert run_graph(graph_of("runner", runner="exit({code})"), {"code": "6"}) == 6


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_every_node_and_is_no_failure(number):
    source = f"""
    import sys
    from ros_nodes.bringup import run_graph
    from ros_nodes.graphs import Graph
    class Script:
        condition, last_words, needed = "", False, True
        def __init__(self, name): self.executable = name
        def command(self, values, arguments): return [sys.executable, "-c", {WAITS!r} + "#" + self.executable]
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
        assert "stopping on request" in rest
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


def test_text_that_looks_like_a_number_stays_text():
    _, values = parse_arguments(["--severity", "1", "--episodes", "3"])
    runner = next(node for node in SIM_EVAL.nodes if node.executable == "episode_runner_node")
    words = runner.command(values, SIM_EVAL.arguments)
    assert 'evaluation.severity:="1"' in words
    assert "evaluation.episodes:=3" in words


def test_what_has_no_default_must_be_given(capsys):
    with pytest.raises(SystemExit):
        parse_arguments(["--graph", "real_arm", "--robot", "panda"])
    assert "--policy" in capsys.readouterr().err
    with pytest.raises(ValueError, match="policy: expected a value"):
        GRAPHS["real_arm"].resolve({"robot": "panda"})


def test_a_real_arm_moves_only_when_told_twice():
    values = GRAPHS["real_arm"].resolve({"robot": "panda", "policy": "noop"})
    assert (values["shadow"], values["autostart"]) == ("true", "false")


@pytest.mark.parametrize("name", ["record", "replay"])
def test_a_real_arm_is_recorded_and_replayed_slowly_and_only_when_told_so(name):
    graph = GRAPHS[name]
    gateway = next(node for node in graph.nodes if node.executable == "arm_gateway_node")
    for twin, shadow, fraction in (("true", "false", None), ("false", "true", 0.1)):
        values = graph.resolve({"twin": twin})
        assert values["shadow"] == shadow
        assert f"shadow_mode:={shadow}" in gateway.command(values, graph.arguments)
        parameters = yaml.safe_load(Path(values["params_file"]).read_text())
        limits = parameters.get("/**/arm_gateway_node", {"ros__parameters": {}})["ros__parameters"]
        assert limits.get("gateway.limits.velocity_fraction") == fraction
    assert graph.resolve({"twin": "false", "shadow": "false"})["shadow"] == "false"


def test_nodes_follow_the_clock_topic_in_lockstep_only():
    assert SIM_EVAL.resolve({})["use_sim_time"] == "true"
    assert SIM_EVAL.resolve({"mode": "realtime"})["use_sim_time"] == "false"
    assert SIM_EVAL.resolve({"mode": "realtime", "use_sim_time": "true"})["use_sim_time"] == "true"


def test_the_robot_follows_from_the_tasks(repository):
    assert SIM_EVAL.resolve({})["robot"] == "panda"
    assert SIM_EVAL.resolve({"task": "sort,lift_tray"})["robot"] == "aloha"
    with pytest.raises(ValueError, match="expected some of one robot"):
        SIM_EVAL.resolve({"task": "pick,sort"})
    tree = ast.parse((repository / "launch" / "sim_eval.launch.py").read_text())
    assigned = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    names = assigned["ALOHA_TASKS"]
    assert ast.literal_eval(names) == tasks_of("aloha")


def calls_of(tree: ast.AST, name: str) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == name]


def computed(expression: ast.Call, values: dict[str, str], tree: ast.Module) -> str:
    """What `PythonExpression` makes of its parts: their texts in one, evaluated, as text again."""
    constants = {node.targets[0].id: ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)}
    parts = eval(ast.unparse(expression.args[0]), {"LaunchConfiguration": values.__getitem__, **constants})
    return str(eval("".join(parts)))


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_the_launch_file_starts_the_same_graph(name, repository):
    graph = GRAPHS[name]
    tree = ast.parse((repository / "launch" / f"{name}.launch.py").read_text())
    declared = {}
    for call in calls_of(tree, "DeclareLaunchArgument"):
        keywords = {word.arg: word.value for word in call.keywords}
        choices = ast.literal_eval(keywords["choices"]) if "choices" in keywords else []
        declared[call.args[0].value] = (keywords.get("default_value"), keywords["description"].value, choices)
    assert list(declared) == list(graph.arguments)
    for argument, (default, description, choices) in declared.items():
        entry = graph.arguments[argument]
        assert description == entry.description
        assert (default is None) == (entry.default is None)
        assert tuple(choices) == entry.choices
        if isinstance(default, ast.Constant):
            assert default.value == entry.default
        elif default is not None:
            own = Path if ast.unparse(default.func) == "config_file" else str
            expression = default.args[0] if own is Path else default
            arms = ({"task": "sort"}, {"policy": "rdt"}, {"policy": "rdt_small"})
            for given in ({}, {"mode": "realtime"}, *arms, {"twin": "false"}, {"twin": "true"}):
                asked = {key: "any" for key, entry in graph.arguments.items() if entry.default is None}
                values = graph.resolve(asked | {key: value for key, value in given.items() if key in graph.arguments})
                found = expression.value if isinstance(expression, ast.Constant) else computed(expression, values, tree)
                assert found == (Path(values[argument]).name if own is Path else values[argument])
    nodes, conditions, dispensable = {}, {}, set()
    for call in calls_of(tree, "graph_node"):
        conditions[call.args[0].value] = call.args[2].value if len(call.args) > 2 else ""
        needed = {word.arg: word.value for word in call.keywords}.get("needed")
        if needed is not None and not needed.value:
            dispensable.add(call.args[0].value)
        keys = [key.value for key in call.args[1].keys]
        values = [tuple(ast.unparse(word).strip("'") for word in entry.args) for entry in call.args[1].values]
        nodes[call.args[0].value] = dict(zip(keys, values, strict=True))
    assert nodes == {
        node.executable: {
            parameter: (argument, graph.arguments[argument].kind.__name__)
            for parameter, argument in node.parameters.items()
        }
        for node in graph.nodes
    }
    assert list(nodes) == [node.executable for node in graph.nodes]
    assert conditions == {node.executable: node.condition for node in graph.nodes}
    assert dispensable == graph.dispensable


def test_sim_eval_asks_shipped_policies_as_seldom_as_their_files_say():
    graph = GRAPHS["sim_eval"]
    for name in [*SHORT_NAMES, *shipped_policies()]:
        path = CHECKPOINTS / SHORT_NAMES.get(name, name) / "policy.json"
        expected = json.loads(path.read_text()).get("query_steps", 1) if path.is_file() else 1
        assert graph.resolve({"policy": name})["query_steps"] == str(expected)
    assert graph.resolve({"policy": "rdt", "query_steps": "2"})["query_steps"] == "2"
