"""The node graphs that can be started: which processes, with which parameters, from which arguments.

`bringup.py` starts these tables as plain processes; each has a launch file of the same name in `launch/`, which a test
compares with the table. A launch file imports nothing of ours and so repeats its table: `ros2 launch` reads it in the
interpreter of the ROS install, which need not have the packages that we stand on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import get_args

from policies.execution.chunk_scheduler import SchedulerMode
from ros_nodes.resources import config_file
from sim.tasks import named_tasks, robot_of

BOOLEAN = ("true", "false")
ASKED_EVERY_8 = ("rdt", "rdt_small")


def enclave_of(node: str, namespace: str) -> str:
    """Path of a node's security enclave, used where SROS2 is on: its namespace and its name."""
    return "/" + "/".join(filter(None, (namespace.strip("/"), node)))


@dataclass(frozen=True, slots=True)
class GraphArgument:
    """A setting of a whole graph.

    Attributes:
        default: value where the user gives none; a function of the other arguments' values where it depends on them;
            None where the user must give one.
        description: one line for `--help`.
        choices: allowed values; empty allows all.
        kind: type of the parameters that it sets.
    """

    default: str | Callable[[Mapping[str, str]], str] | None
    description: str
    choices: tuple[str, ...] = ()
    kind: type = str

    def as_yaml(self, value: str) -> str:
        """The value as ROS reads it: text in quotes, or `1` would become a number."""
        return json.dumps(value) if self.kind is str else value


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One process of a graph.

    Attributes:
        executable: console script, module of `ros_nodes` and node name in one.
        parameters: graph argument by parameter name; they override the graph's parameter file.
        condition: argument that must be true for the process to be started; empty starts it always.
        last_words: whether it must be able to end in order where whoever started it is killed.
        needed: whether its end ends the graph.
    """

    executable: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    condition: str = ""
    last_words: bool = False
    needed: bool = True

    def command(self, values: Mapping[str, str], arguments: Mapping[str, GraphArgument]) -> list[str]:
        """Command line that starts this node.

        Args:
            values: value of every argument of the graph.
            arguments: the arguments themselves.
        """
        enclave = enclave_of(self.executable, values["namespace"])
        words = ["--ros-args", "--log-level", values["log_level"], "--enclave", enclave]
        words += ["--params-file", values["params_file"]]
        if values["namespace"]:
            words += ["-r", f"__ns:={values['namespace']}"]
        for parameter, name in self.parameters.items():
            words += ["-p", f"{parameter}:={arguments[name].as_yaml(values[name])}"]
        return [sys.executable, "-u", "-m", f"ros_nodes.{self.executable}", *words]


@dataclass(frozen=True, slots=True)
class Graph:
    """Processes in the order of their start, and the arguments that they share.

    Attributes:
        nodes: the processes; they are stopped in reverse order.
        arguments: arguments by name.
        conductor: the node whose end ends the graph, with its exit code; any other needed node's end is a failure.
            Empty where the graph runs until it is told to stop.
    """

    nodes: tuple[GraphNode, ...]
    arguments: Mapping[str, GraphArgument]
    conductor: str = ""

    def started(self, values: Mapping[str, str]) -> list[GraphNode]:
        """The processes that are started with some values of all arguments."""
        return [node for node in self.nodes if not node.condition or values[node.condition] == "true"]

    @property
    def dispensable(self) -> set[str]:
        """Names of the processes whose end changes nothing."""
        return {node.executable for node in self.nodes if not node.needed}

    def resolve(self, given: Mapping[str, str]) -> dict[str, str]:
        """Complete the given values by defaults.

        Raises:
            ValueError: an unknown argument, a missing one without default, or a value that is not among the choices.
        """
        unknown = sorted(set(given) - set(self.arguments))
        if unknown:
            raise ValueError(f"graph arguments: expected some of {sorted(self.arguments)}, found {unknown}")
        plain = {name: entry.default for name, entry in self.arguments.items() if isinstance(entry.default, str)}
        values = plain | dict(given)
        for name, entry in self.arguments.items():
            if name not in values and entry.default is None:
                raise ValueError(f"{name}: expected a value ({entry.description}), found none")
            if name not in values and not isinstance(entry.default, str):
                values[name] = entry.default(values)
        for name, value in values.items():
            choices = self.arguments[name].choices
            if choices and value not in choices:
                raise ValueError(f"{name}: expected one of {', '.join(choices)}, found {value!r}")
        return values


SIM_EVAL = Graph(
    nodes=(
        GraphNode(
            "simulator_node",
            {
                "mode": "mode",
                "query_steps": "query_steps",
                "robot": "robot",
                "perturbation.blank_images": "blank_images",
                "perturbation.shuffle_instructions": "shuffle_instructions",
            },
        ),
        GraphNode(
            "arm_gateway_node",
            {"use_sim_time": "use_sim_time", "mode": "mode", "robot": "robot"},
            last_words=True,
        ),
        GraphNode(
            "policy_node",
            {
                "use_sim_time": "use_sim_time",
                "mode": "mode",
                "robot": "robot",
                "policy.checkpoint": "policy",
                "policy.device": "device",
                "execution.scheduler.mode": "scheduler",
            },
        ),
        GraphNode(
            "episode_runner_node",
            {
                "evaluation.policy": "policy",
                "evaluation.output": "output",
                "evaluation.task": "task",
                "evaluation.suite": "suite",
                "evaluation.severity": "severity",
                "evaluation.episodes": "episodes",
                "evaluation.seed": "seed",
                "evaluation.query_steps": "query_steps",
                "evaluation.blank_images": "blank_images",
                "evaluation.shuffle_instructions": "shuffle_instructions",
                "evaluation.videos": "videos",
                "evaluation.joint_targets": "joint_targets",
                "evaluation.scheduler": "scheduler",
                "evaluation.device": "device",
                "evaluation.robot": "robot",
            },
        ),
    ),
    arguments={
        "policy": GraphArgument(
            "spatialvla_small", "random, noop, mean_action, a shipped policy, a directory, or a hub id"
        ),
        "device": GraphArgument("cpu", "torch device of the policy"),
        "task": GraphArgument("all", "tasks of one robot, separated by commas, or all those of the panda"),
        "robot": GraphArgument(
            lambda values: robot_of(named_tasks(values["task"])),
            "name of the robot, or its YAML file; by default that of the tasks",
        ),
        "suite": GraphArgument("nominal", "variation suites, separated by commas"),
        "severity": GraphArgument("1", "grades of the suites from 1 to 3, separated by commas"),
        "episodes": GraphArgument("5", "episodes per task, suite and severity", kind=int),
        "seed": GraphArgument("0", "seed of the run", kind=int),
        "query_steps": GraphArgument(
            lambda values: "8" if values["policy"] in ASKED_EVERY_8 else "1",
            "control steps between two queries of the policy; by default what a shipped one says",
            kind=int,
        ),
        "scheduler": GraphArgument(
            "receding_horizon", "how overlapping chunks become one motion", get_args(SchedulerMode)
        ),
        "blank_images": GraphArgument("false", "show the policy black images", BOOLEAN, bool),
        "shuffle_instructions": GraphArgument("false", "give the policy wrong instructions", BOOLEAN, bool),
        "videos": GraphArgument("1", "lockstep: film so many episodes of each task, suite and severity", kind=int),
        "joint_targets": GraphArgument("false", "store all joint targets in episodes.parquet", BOOLEAN, bool),
        "output": GraphArgument("runs/eval", "directory for summary, episodes, videos and report"),
        "mode": GraphArgument(
            "lockstep", "lockstep: simulated time waits for the policy; realtime: wall clock", ("lockstep", "realtime")
        ),
        "use_sim_time": GraphArgument(
            lambda values: str(values["mode"] == "lockstep").lower(),
            "whether nodes follow /clock; by default in lockstep only",
            BOOLEAN,
            bool,
        ),
        "namespace": GraphArgument("", "namespace of all nodes"),
        "params_file": GraphArgument(str(config_file("sim_eval.yaml")), "YAML file with the parameters of all nodes"),
        "log_level": GraphArgument("info", "log level of all nodes", ("debug", "info", "warn", "error", "fatal")),
    },
    conductor="episode_runner_node",
)

ROBOT = GraphArgument(None, "name of the robot, or its YAML file")
NAMESPACE = SIM_EVAL.arguments["namespace"]
LOG_LEVEL = SIM_EVAL.arguments["log_level"]
WITH_DASHBOARD = GraphArgument("false", "start the status page with its emergency stop", BOOLEAN, bool)
DASHBOARD_PORT = GraphArgument("8080", "port of the status page", kind=int)
DASHBOARD = GraphNode(
    "dashboard",
    {"use_sim_time": "use_sim_time", "robot": "robot", "port": "dashboard_port"},
    "dashboard",
    needed=False,
)

REAL_ARM = Graph(
    nodes=(
        # First up and last down: it holds the arm whatever the policy does.
        GraphNode(
            "arm_gateway_node",
            {"use_sim_time": "use_sim_time", "robot": "robot", "shadow_mode": "shadow"},
            last_words=True,
        ),
        GraphNode(
            "policy_node",
            {
                "use_sim_time": "use_sim_time",
                "robot": "robot",
                "policy.checkpoint": "policy",
                "policy.device": "device",
                "execution.scheduler.mode": "scheduler",
                "autostart": "autostart",
            },
        ),
        DASHBOARD,
    ),
    arguments={
        "robot": ROBOT,
        "policy": GraphArgument(None, "random, noop, mean_action, a shipped policy, a directory, or a hub id"),
        "device": SIM_EVAL.arguments["device"],
        "scheduler": SIM_EVAL.arguments["scheduler"],
        "shadow": GraphArgument("true", "tell what the arm would do, and move nothing", BOOLEAN, bool),
        "autostart": GraphArgument("false", "activate the policy without being asked", BOOLEAN, bool),
        "dashboard": WITH_DASHBOARD,
        "dashboard_port": DASHBOARD_PORT,
        "use_sim_time": GraphArgument("false", "whether nodes follow /clock", BOOLEAN, bool),
        "namespace": NAMESPACE,
        "params_file": GraphArgument(str(config_file("real_arm.yaml")), "YAML file with the parameters of all nodes"),
        "log_level": LOG_LEVEL,
    },
)

TWIN = Graph(
    nodes=(GraphNode("simulator_node", {"use_sim_time": "use_sim_time", "robot": "robot"}),),
    arguments={
        "robot": ROBOT,
        "use_sim_time": GraphArgument("false", "a twin runs on the wall clock, as hardware does", ("false",), bool),
        "namespace": NAMESPACE,
        "params_file": GraphArgument(str(config_file("twin.yaml")), "YAML file with the parameters of all nodes"),
        "log_level": LOG_LEVEL,
    },
)

PANDA = GraphArgument("panda", "name of the robot, or its YAML file")
WITH_TWIN = GraphArgument("true", "start the simulator in the place of the arm; false on a real arm", BOOLEAN, bool)
SHADOW_ON_REAL_ARM = GraphArgument(
    lambda values: str(values["twin"] != "true").lower(),
    "tell what the arm would do, and move nothing; by default on a real arm",
    BOOLEAN,
    bool,
)


def _by_arm(name: str) -> GraphArgument:
    """The parameter file of a graph: another one, with lower limits, where the arm is real."""
    return GraphArgument(
        lambda values: str(config_file(f"{name}.yaml" if values["twin"] == "true" else f"{name}_real_arm.yaml")),
        "YAML file with the parameters of all nodes; by default another one on a real arm",
    )


RECORD = Graph(
    nodes=(
        GraphNode("simulator_node", {"robot": "robot"}, "twin"),
        GraphNode(
            "arm_gateway_node",
            {"use_sim_time": "use_sim_time", "robot": "robot", "shadow_mode": "shadow"},
            last_words=True,
        ),
        GraphNode("teleop_node", {"use_sim_time": "use_sim_time", "robot": "robot"}, "teleop"),
        GraphNode(
            "recorder_node",
            {"use_sim_time": "use_sim_time", "recording.robot": "robot", "recording.folder": "folder"},
        ),
        DASHBOARD,
    ),
    arguments={
        "folder": GraphArgument("runs/bags", "directory for the bags"),
        "robot": PANDA,
        "twin": WITH_TWIN,
        "shadow": SHADOW_ON_REAL_ARM,
        "teleop": GraphArgument("true", "start the node that leads the arm by a joystick", BOOLEAN, bool),
        "dashboard": WITH_DASHBOARD,
        "dashboard_port": DASHBOARD_PORT,
        "use_sim_time": GraphArgument("false", "whether nodes follow /clock", BOOLEAN, bool),
        "namespace": NAMESPACE,
        "params_file": _by_arm("record"),
        "log_level": LOG_LEVEL,
    },
    conductor="recorder_node",
)

REPLAY = Graph(
    nodes=(
        GraphNode("simulator_node", {"mode": "mode", "robot": "robot"}, "twin"),
        GraphNode(
            "arm_gateway_node",
            {"use_sim_time": "use_sim_time", "mode": "mode", "robot": "robot", "shadow_mode": "shadow"},
            last_words=True,
        ),
        GraphNode(
            "replay_node",
            {
                "use_sim_time": "use_sim_time",
                "mode": "mode",
                "robot": "robot",
                "twin": "twin",
                "task": "task",
                "seed": "seed",
                "dataset": "dataset",
                "episode": "episode",
                "output": "output",
            },
        ),
    ),
    arguments={
        "dataset": GraphArgument("", "directory of the dataset"),
        "episode": GraphArgument("0", "number of the episode in it", kind=int),
        "output": GraphArgument("", "JSON file for the result; empty for none"),
        "robot": PANDA,
        "twin": WITH_TWIN,
        "shadow": SHADOW_ON_REAL_ARM,
        "task": GraphArgument("reach", "task whose scene the simulator shows"),
        "seed": GraphArgument("0", "seed of that scene", kind=int),
        "mode": GraphArgument(
            "realtime", "lockstep: simulated time waits; realtime: wall clock", ("lockstep", "realtime")
        ),
        "use_sim_time": SIM_EVAL.arguments["use_sim_time"],
        "namespace": NAMESPACE,
        "params_file": _by_arm("replay"),
        "log_level": LOG_LEVEL,
    },
    conductor="replay_node",
)

PERCEPTION = Graph(
    nodes=(
        GraphNode("simulator_node", {"robot": "robot"}, "twin"),
        GraphNode(
            "perception_node",
            {
                "use_sim_time": "use_sim_time",
                "robot": "robot",
                "camera": "camera",
                "encoder.path": "encoder",
                "encoder.device": "device",
                "autostart": "autostart",
            },
        ),
    ),
    arguments={
        "encoder": GraphArgument(None, "directory of an encoder, or of the run that trained it"),
        "device": GraphArgument("cpu", "torch device of the encoder"),
        "robot": PANDA,
        "camera": GraphArgument("front", "name of the camera"),
        "twin": GraphArgument("false", "start the simulator in the place of the camera", BOOLEAN, bool),
        "autostart": GraphArgument("true", "look at once, without being asked", BOOLEAN, bool),
        "use_sim_time": GraphArgument("false", "whether nodes follow /clock", BOOLEAN, bool),
        "namespace": NAMESPACE,
        "params_file": GraphArgument(str(config_file("perception.yaml")), "YAML file with the parameters of all nodes"),
        "log_level": LOG_LEVEL,
    },
)

MEMORY = Graph(
    nodes=(
        *PERCEPTION.nodes,
        GraphNode(
            "memory_node",
            {
                "use_sim_time": "use_sim_time",
                "memory.robot": "robot",
                "memory.autostart": "autostart",
                "memory.path": "memory",
                "memory.create": "create",
                "memory.source": "source",
                "encoder.path": "encoder",
                "encoder.states": "states",
                "encoder.device": "device",
            },
        ),
    ),
    arguments={
        "encoder": PERCEPTION.arguments["encoder"],
        "memory": GraphArgument(None, "directory of the memory"),
        "create": GraphArgument("false", "make the memory if there is none", BOOLEAN, bool),
        "source": GraphArgument("live", "path of the bag that is recorded beside it, or another name"),
        "states": GraphArgument("", "directory of an encoder of JSON, for requests of states"),
        **PERCEPTION.arguments,
        "params_file": GraphArgument(str(config_file("memory.yaml")), "YAML file with the parameters of all nodes"),
    },
)

FORECAST = Graph(
    nodes=(
        GraphNode(
            "track_player_node",
            {"use_sim_time": "use_sim_time", "robot": "robot", "frame": "frame", "tracks": "tracks"},
            "twin",
        ),
        GraphNode(
            "forecast_node",
            {
                "use_sim_time": "use_sim_time",
                "robot": "robot",
                "frame": "frame",
                "model.path": "model",
                "autostart": "autostart",
            },
        ),
        GraphNode("separation_node", {"use_sim_time": "use_sim_time", "robot": "robot"}, "slow_down"),
    ),
    arguments={
        "model": GraphArgument(None, "directory of a model of gcrl"),
        "robot": PANDA,
        "frame": GraphArgument("", "frame of the tracked places; that of the robot's base if left out"),
        "twin": GraphArgument("false", "play recorded tracks in the place of a tracker", BOOLEAN, bool),
        "tracks": GraphArgument("", "file of the tracks that are played"),
        "slow_down": GraphArgument("false", "slow the arm where somebody may come near it", BOOLEAN, bool),
        "autostart": GraphArgument("true", "foretell at once, without being asked", BOOLEAN, bool),
        "use_sim_time": GraphArgument("false", "whether nodes follow /clock", BOOLEAN, bool),
        "namespace": NAMESPACE,
        "params_file": GraphArgument(str(config_file("forecast.yaml")), "YAML file with the parameters of all nodes"),
        "log_level": LOG_LEVEL,
    },
)

TOOL_WATCH = Graph(
    nodes=(
        GraphNode(
            "tool_watch_node",
            {
                "use_sim_time": "use_sim_time",
                "robot": "robot",
                "joint": "joint",
                "model.path": "model",
                "autostart": "autostart",
            },
        ),
    ),
    arguments={
        "model": GraphArgument(None, "directory of a Hamiltonian network of one joint"),
        "joint": GraphArgument(None, "name of the joint that the tool swings in"),
        "robot": PANDA,
        "autostart": GraphArgument("true", "watch at once, without being asked", BOOLEAN, bool),
        "use_sim_time": GraphArgument("false", "whether nodes follow /clock", BOOLEAN, bool),
        "namespace": NAMESPACE,
        "params_file": GraphArgument(str(config_file("tool_watch.yaml")), "YAML file with the parameters of all nodes"),
        "log_level": LOG_LEVEL,
    },
)

GRIPPER_ACTION = Graph(
    nodes=(GraphNode("gripper_action_node", {"use_sim_time": "use_sim_time", "robot": "robot", "action": "action"}),),
    arguments={
        "robot": ROBOT,
        "action": GraphArgument(None, "names of the GripperCommand servers, one for each arm, separated by commas"),
        "use_sim_time": GraphArgument("false", "whether nodes follow /clock", BOOLEAN, bool),
        "namespace": NAMESPACE,
        "params_file": GraphArgument(
            str(config_file("gripper_action.yaml")), "YAML file with the parameters of all nodes"
        ),
        "log_level": LOG_LEVEL,
    },
)

GRAPHS: dict[str, Graph] = {
    "forecast": FORECAST,
    "gripper_action": GRIPPER_ACTION,
    "memory": MEMORY,
    "perception": PERCEPTION,
    "real_arm": REAL_ARM,
    "record": RECORD,
    "replay": REPLAY,
    "sim_eval": SIM_EVAL,
    "tool_watch": TOOL_WATCH,
    "twin": TWIN,
}
