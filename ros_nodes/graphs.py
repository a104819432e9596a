"""The node graphs that can be started: which processes, with which parameters, from which arguments.

`bringup.py` starts these tables as plain processes; each has a launch file of the same name in `launch/`, which a test
compares with the table.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from ros_nodes.resources import config_file


@dataclass(frozen=True, slots=True)
class GraphArgument:
    """A setting of a whole graph.

    Attributes:
        default: value where the user gives none.
        description: one line for `--help`.
        choices: allowed values; empty allows all.
    """

    default: str
    description: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One process of a graph.

    Attributes:
        executable: console script, module of `ros_nodes` and node name in one.
        config: file in `config/` with its parameters.
        parameters: graph argument by parameter name; they override the file.
    """

    executable: str
    config: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def command(self, values: Mapping[str, str]) -> list[str]:
        """Command line that starts this node.

        Args:
            values: every argument of the graph. An empty `params_file` or `namespace` is left out.
        """
        files = [str(config_file(self.config)), *([values["params_file"]] if values["params_file"] else [])]
        arguments = ["--ros-args", "--log-level", values["log_level"]]
        for file in files:
            arguments += ["--params-file", file]
        if values["namespace"]:
            arguments += ["-r", f"__ns:={values['namespace']}"]
        for parameter, argument in self.parameters.items():
            arguments += ["-p", f"{parameter}:={values[argument]}"]
        return [sys.executable, "-u", "-m", f"ros_nodes.{self.executable}", *arguments]


@dataclass(frozen=True, slots=True)
class Graph:
    """Processes in the order of their start, and the arguments that they share.

    Attributes:
        nodes: the processes; they are stopped in reverse order.
        arguments: arguments by name.
        conductor: the node whose end ends the graph, with its exit code; any other node's end is a failure.
    """

    nodes: tuple[GraphNode, ...]
    arguments: Mapping[str, GraphArgument]
    conductor: str

    def resolve(self, given: Mapping[str, str]) -> dict[str, str]:
        """Complete the given values by defaults.

        Raises:
            ValueError: an unknown argument, or a value that is not among the choices.
        """
        unknown = sorted(set(given) - set(self.arguments))
        if unknown:
            raise ValueError(f"graph arguments: expected some of {sorted(self.arguments)}, found {unknown}")
        values = {name: given.get(name, argument.default) for name, argument in self.arguments.items()}
        for name, value in values.items():
            choices = self.arguments[name].choices
            if choices and value not in choices:
                raise ValueError(f"{name}: expected one of {', '.join(choices)}, found {value!r}")
        return values


SIM_EVAL = Graph(
    nodes=(
        GraphNode(
            "simulator_node",
            "simulator.yaml",
            {
                "mode": "mode",
                "simulation.robot": "robot",
                "simulation.profile": "profile",
                "simulation.width": "width",
                "simulation.height": "height",
            },
        ),
        GraphNode("arm_gateway_node", "arm_gateway.yaml", {"use_sim_time": "use_sim_time", "robot": "robot"}),
        GraphNode(
            "policy_node",
            "policy.yaml",
            {
                "use_sim_time": "use_sim_time",
                "mode": "mode",
                "robot": "robot",
                "policy.path": "policy",
                "policy.device": "device",
            },
        ),
        GraphNode(
            "episode_runner_node",
            "episode_runner.yaml",
            {
                "use_sim_time": "use_sim_time",
                "mode": "mode",
                "evaluation.policy": "policy",
                "evaluation.task": "task",
                "evaluation.suite": "suite",
                "evaluation.severity": "severity",
                "evaluation.episodes": "episodes",
                "evaluation.seed": "seed",
                "evaluation.output": "output",
            },
        ),
    ),
    arguments={
        "policy": GraphArgument("spatialvla_small", "policy: folder or name of a checkpoint, random, noop"),
        "device": GraphArgument("cpu", "torch device of the policy"),
        "robot": GraphArgument("panda", "name of the robot"),
        "task": GraphArgument("reach", "tasks, separated by commas, or all"),
        "suite": GraphArgument("nominal", "variation suite"),
        "severity": GraphArgument("1", "grade of the variation"),
        "episodes": GraphArgument("5", "episodes per task"),
        "seed": GraphArgument("0", "seed of the run"),
        "output": GraphArgument("runs/eval", "folder for summary, episodes, videos and report"),
        "mode": GraphArgument(
            "lockstep", "lockstep: simulated time waits for the policy; realtime: wall clock", ("lockstep", "realtime")
        ),
        "profile": GraphArgument("fast", "rendering profile", ("fast", "quality")),
        "width": GraphArgument("224", "camera width in pixels"),
        "height": GraphArgument("224", "camera height in pixels"),
        "use_sim_time": GraphArgument("true", "whether nodes follow /clock", ("true", "false")),
        "namespace": GraphArgument("", "namespace of all nodes"),
        "params_file": GraphArgument("", "YAML whose parameters override those of the package"),
        "log_level": GraphArgument("info", "log level of all nodes", ("debug", "info", "warn", "error", "fatal")),
    },
    conductor="episode_runner_node",
)

GRAPHS: dict[str, Graph] = {"sim_eval": SIM_EVAL}
