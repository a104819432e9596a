"""What each node says and hears, and the SROS2 policy that allows no more: `python -m ros_nodes.enclaves GRAPH`.

`NODES` is the table; a test starts the graphs and compares it with what the nodes have. The command writes a policy of
`sros2` (version 0.2.0) with an enclave for each node of a graph, from which `ros2 security` makes keys and permissions.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from policies.execution.outputs import Output, commands_topics, gripper_topics, twist_topics
from policies.robots import get_drivers, get_robot
from policies.robots.drivers import RobotDrivers
from ros_nodes import optional
from ros_nodes.graphs import GRAPHS, enclave_of
from ros_nodes.gripper_action_node import gripper_actions
from ros_nodes.recorder_node import RecordingConfig
from sim.scene import scene_cameras

POLICY_VERSION = "0.2.0"

BOOL, STRING = "std_msgs/msg/Bool", "std_msgs/msg/String"
NUMBERS = "std_msgs/msg/Float32MultiArray"
FLOAT, FLOATS = "std_msgs/msg/Float64", "std_msgs/msg/Float64MultiArray"
CLOCK, JOINTS, JOY = "rosgraph_msgs/msg/Clock", "sensor_msgs/msg/JointState", "sensor_msgs/msg/Joy"
IMAGE, CAMERA_INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
TRANSFORM, TRANSFORMS = "geometry_msgs/msg/TransformStamped", "tf2_msgs/msg/TFMessage"
TWIST = "geometry_msgs/msg/TwistStamped"
TRAJECTORY, MARKERS = "trajectory_msgs/msg/JointTrajectory", "visualization_msgs/msg/MarkerArray"
GRIPPER_COMMAND = "control_msgs/action/GripperCommand"
DIAGNOSTICS, TRIGGER = "diagnostic_msgs/msg/DiagnosticArray", "std_srvs/srv/Trigger"
GET_PARAMETERS = "rcl_interfaces/srv/GetParameters"
SET_ATOMICALLY = "rcl_interfaces/srv/SetParametersAtomically"
CHANGE_STATE, GET_STATE = "lifecycle_msgs/srv/ChangeState", "lifecycle_msgs/srv/GetState"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Types by name; names are relative to the namespace, private (`~/`) or absolute.

    Attributes:
        publishes: topics.
        subscribes: topics.
        serves: services that it offers.
        calls: services that it uses.
        asks: actions that it uses.
    """

    publishes: Mapping[str, str] = field(default_factory=dict)
    subscribes: Mapping[str, str] = field(default_factory=dict)
    serves: Mapping[str, str] = field(default_factory=dict)
    calls: Mapping[str, str] = field(default_factory=dict)
    asks: Mapping[str, str] = field(default_factory=dict)

    def __or__(self, other: Endpoints) -> Endpoints:
        """Those of both."""
        return Endpoints(
            {**self.publishes, **other.publishes},
            {**self.subscribes, **other.subscribes},
            {**self.serves, **other.serves},
            {**self.calls, **other.calls},
            {**self.asks, **other.asks},
        )

    def resolved(self, node: str, namespace: str) -> Endpoints:
        """The same with absolute names, as they are for a node of that name in a namespace such as `/` or `/left`."""
        place = "/" + namespace.strip("/")

        def absolute(name: str) -> str:
            if name.startswith("/"):
                return name
            return f"{place.rstrip('/')}/{name.replace('~', node, 1)}"

        kinds = (self.publishes, self.subscribes, self.serves, self.calls, self.asks)
        return Endpoints(*({absolute(name): kind for name, kind in names.items()} for names in kinds))


@dataclass(frozen=True, slots=True)
class Setting:
    """What the names depend on.

    Attributes:
        robot: name of the robot, or its YAML file.
        cameras: that policy, recorder and dashboard look through; empty for those that a simulated robot has.
        shadow: whether the gateway only tells what it would do; then it may not publish to the controllers.
        output: what the arm's controllers take, see `arm_gateway_node`.
        sim_time: whether nodes follow /clock.
        tf2: whether tf2 is installed.
        action: names of the gripper actions, see `gripper_action_node`; empty for none.
    """

    robot: str = "panda"
    cameras: tuple[str, ...] = ()
    shadow: bool = False
    output: Output = "trajectory"
    sim_time: bool = False
    tf2: bool = optional.TFMessage is not None
    action: str = ""

    @property
    def drivers(self) -> RobotDrivers:
        """Names of the robot's drivers."""
        return get_drivers(self.robot)

    @property
    def all_cameras(self) -> tuple[str, ...]:
        """Cameras of the simulated robot."""
        return scene_cameras(get_robot(self.robot)).names

    @property
    def trajectories(self) -> dict[str, str]:
        """Topics of controllers that take trajectories."""
        return {controller.topic: TRAJECTORY for controller in self.drivers.controllers}

    @property
    def commands(self) -> dict[str, str]:
        """Topics of the arm's controllers."""
        if self.output == "trajectory":
            return self.trajectories
        if self.output == "forward_command":
            return dict.fromkeys(commands_topics(self.drivers), FLOATS)
        spec = get_robot(self.robot)
        return dict.fromkeys(twist_topics(spec), TWIST) | dict.fromkeys(gripper_topics(spec, self.drivers), FLOATS)

    @property
    def joints(self) -> dict[str, str]:
        """Topic of the joint states."""
        return {self.drivers.joint_states: JOINTS}

    @property
    def static_transforms(self) -> dict[str, str]:
        """Topic of fixed frames, where tf2 is there."""
        return {"tf_static": TRANSFORMS} if self.tf2 else {}

    @property
    def transforms(self) -> dict[str, str]:
        """Topics of fixed and of moving frames, where tf2 is there."""
        return self.static_transforms | ({"tf": TRANSFORMS} if self.tf2 else {})

    def camera_topics(self, cameras: Iterable[str]) -> dict[str, str]:
        """Topics of cameras."""
        drivers = [self.drivers.camera(name) for name in cameras]
        return {
            topic: kind
            for driver in drivers
            for topic, kind in (
                (driver.color, IMAGE),
                (driver.depth, IMAGE),
                (driver.info, CAMERA_INFO),
                (driver.extrinsics, TRANSFORM),
            )
        }


def common(setting: Setting) -> Endpoints:
    """What every node of rclpy has."""
    services = {
        "describe_parameters": "DescribeParameters",
        "get_parameter_types": "GetParameterTypes",
        "get_parameters": "GetParameters",
        "list_parameters": "ListParameters",
        "set_parameters": "SetParameters",
        "set_parameters_atomically": "SetParametersAtomically",
    }
    return Endpoints(
        publishes={"/rosout": "rcl_interfaces/msg/Log", "/parameter_events": "rcl_interfaces/msg/ParameterEvent"},
        subscribes={"/clock": CLOCK} if setting.sim_time else {},
        serves={f"~/{name}": f"rcl_interfaces/srv/{kind}" for name, kind in services.items()}
        | {"~/get_type_description": "type_description_interfaces/srv/GetTypeDescription"},
    )


LIFE_CYCLE = Endpoints(
    publishes={"~/transition_event": "lifecycle_msgs/msg/TransitionEvent"},
    serves={
        "~/change_state": CHANGE_STATE,
        "~/get_state": GET_STATE,
        "~/get_available_states": "lifecycle_msgs/srv/GetAvailableStates",
        "~/get_available_transitions": "lifecycle_msgs/srv/GetAvailableTransitions",
        "~/get_transition_graph": "lifecycle_msgs/srv/GetAvailableTransitions",
    },
)
TELLS_HEALTH = {"/diagnostics": DIAGNOSTICS}


def simulator_node(setting: Setting) -> Endpoints:
    """Drivers of cameras and arm."""
    return Endpoints(
        publishes={"/clock": CLOCK, "instruction": STRING, "~/status": STRING}
        | {"~/joint_states": JOINTS, "~/executed": TRAJECTORY}
        | setting.joints
        | setting.camera_topics(setting.all_cameras)
        | setting.static_transforms
        | TELLS_HEALTH,
        subscribes=setting.trajectories,
        serves={"~/reset": TRIGGER},
    )


def arm_gateway_node(setting: Setting) -> Endpoints:
    """The only one that commands the arm."""
    shadow = {f"~/shadow/{topic.lstrip('~/')}": kind for topic, kind in setting.trajectories.items()}
    return Endpoints(
        publishes=(shadow if setting.shadow else setting.commands) | TELLS_HEALTH,
        subscribes={"estop": BOOL, "planned_trajectory": TRAJECTORY, "speed_scale": FLOAT} | setting.joints,
        serves={"~/reset": TRIGGER, "~/home": TRIGGER},
    )


def policy_node(setting: Setting) -> Endpoints:
    """Sees, and plans."""
    return LIFE_CYCLE | Endpoints(
        publishes={"planned_trajectory": TRAJECTORY, "~/predicted_path": MARKERS, "~/timing": DIAGNOSTICS}
        | TELLS_HEALTH,
        subscribes={"instruction": STRING}
        | setting.joints
        | setting.camera_topics(setting.cameras or setting.all_cameras)
        | setting.transforms,
    )


def perception_node(setting: Setting) -> Endpoints:
    """Sees, and tells what it understands; depth, calibration and joints not for all encoders."""
    camera = setting.drivers.camera((setting.cameras or setting.all_cameras)[0])
    return LIFE_CYCLE | Endpoints(
        publishes={
            "~/embedding": NUMBERS,
            "~/scores": NUMBERS,
            "~/progress": STRING,
            "~/percept": STRING,
            "~/evidence": STRING,
            "~/things": STRING,
            "~/timing": DIAGNOSTICS,
        }
        | TELLS_HEALTH,
        subscribes={
            "instruction": STRING,
            camera.color: IMAGE,
            camera.depth: IMAGE,
            camera.info: CAMERA_INFO,
            camera.extrinsics: TRANSFORM,
        }
        | setting.joints,
    )


def forecast_node(setting: Setting) -> Endpoints:
    """Follows what moves around the arm, and foretells it."""
    return LIFE_CYCLE | Endpoints(
        publishes={"~/predicted_paths": MARKERS, "~/forecast": NUMBERS} | TELLS_HEALTH,
        subscribes={"tracked_agents": MARKERS},
    )


def separation_node(setting: Setting) -> Endpoints:
    """Slows the arm beside others."""
    return Endpoints(
        publishes={"speed_scale": FLOAT} | TELLS_HEALTH,
        subscribes={"tracked_agents": MARKERS, "forecast_node/forecast": NUMBERS} | setting.joints,
    )


def track_player_node(setting: Setting) -> Endpoints:
    """Recorded tracks in the place of what tracks others."""
    return Endpoints(publishes={"tracked_agents": MARKERS})


def tool_watch_node(setting: Setting) -> Endpoints:
    """Hears a tool swing, and tells whether it was hit."""
    return LIFE_CYCLE | Endpoints(publishes={"~/energy_drift": DIAGNOSTICS} | TELLS_HEALTH, subscribes=setting.joints)


def gripper_action_node(setting: Setting) -> Endpoints:
    """Moves grippers that take goals."""
    if not setting.action:
        return Endpoints(publishes=TELLS_HEALTH)
    grippers = gripper_actions(get_robot(setting.robot), setting.drivers, setting.action).values()
    return Endpoints(
        publishes=TELLS_HEALTH,
        subscribes={topic: TRAJECTORY for topic, _ in grippers},
        asks={action: GRIPPER_COMMAND for _, action in grippers},
    )


def memory_node(setting: Setting) -> Endpoints:
    """Remembers what perception_node sees, and answers requests."""
    return LIFE_CYCLE | Endpoints(
        publishes={"~/response": STRING} | TELLS_HEALTH,
        subscribes={"perception_node/percept": STRING, "instruction": STRING, "~/request": STRING},
    )


def teleop_node(setting: Setting) -> Endpoints:
    """A person in the place of the policy."""
    return Endpoints(
        publishes={"planned_trajectory": TRAJECTORY} | TELLS_HEALTH, subscribes={"joy": JOY} | setting.joints
    )


def replay_node(setting: Setting) -> Endpoints:
    """A recording in the place of the policy."""
    return Endpoints(
        publishes={"planned_trajectory": TRAJECTORY},
        subscribes={"instruction": STRING} | setting.joints,
        calls={
            "arm_gateway_node/get_parameters": GET_PARAMETERS,
            "arm_gateway_node/reset": TRIGGER,
            "simulator_node/get_parameters": GET_PARAMETERS,
            "simulator_node/reset": TRIGGER,
            "simulator_node/set_parameters_atomically": SET_ATOMICALLY,
        },
    )


def recorder_node(setting: Setting) -> Endpoints:
    """Hears everything that is configured."""
    known = setting.trajectories | setting.joints | setting.camera_topics(setting.cameras or setting.all_cameras)
    known |= {"instruction": STRING, "planned_trajectory": TRAJECTORY, "estop": BOOL, "joy": JOY}
    known |= {"/diagnostics": DIAGNOSTICS} | setting.transforms
    topics = RecordingConfig(setting.robot, setting.cameras or setting.all_cameras).all_topics()
    return Endpoints(
        publishes={"episode_marks": STRING} | TELLS_HEALTH,
        subscribes={topic: known[topic] for topic in topics if topic in known},
        serves={f"~/{event}": TRIGGER for event in ("start", "success", "failure", "discard")},
    )


def dashboard(setting: Setting) -> Endpoints:
    """Shows, and stops."""
    cameras = setting.cameras or setting.all_cameras
    return Endpoints(
        publishes={"estop": BOOL},
        subscribes={"estop": BOOL, "instruction": STRING, "planned_trajectory": TRAJECTORY, "/diagnostics": DIAGNOSTICS}
        | setting.joints
        | {setting.drivers.camera(name).color: IMAGE for name in cameras},
        calls={"arm_gateway_node/reset": TRIGGER, "policy_node/get_state": GET_STATE},
    )


def episode_runner_node(setting: Setting) -> Endpoints:
    """Conducts an evaluation."""
    return Endpoints(
        subscribes={"simulator_node/status": STRING, "policy_node/timing": DIAGNOSTICS, "/diagnostics": DIAGNOSTICS},
        calls={
            "policy_node/change_state": CHANGE_STATE,
            "policy_node/get_parameters": GET_PARAMETERS,
            "policy_node/set_parameters_atomically": SET_ATOMICALLY,
            "arm_gateway_node/get_parameters": GET_PARAMETERS,
            "arm_gateway_node/reset": TRIGGER,
            "simulator_node/get_parameters": GET_PARAMETERS,
            "simulator_node/set_parameters_atomically": SET_ATOMICALLY,
            "simulator_node/reset": TRIGGER,
        },
    )


NODES: dict[str, Callable[[Setting], Endpoints]] = {
    "arm_gateway_node": arm_gateway_node,
    "dashboard": dashboard,
    "episode_runner_node": episode_runner_node,
    "forecast_node": forecast_node,
    "gripper_action_node": gripper_action_node,
    "memory_node": memory_node,
    "perception_node": perception_node,
    "policy_node": policy_node,
    "recorder_node": recorder_node,
    "replay_node": replay_node,
    "separation_node": separation_node,
    "simulator_node": simulator_node,
    "teleop_node": teleop_node,
    "tool_watch_node": tool_watch_node,
    "track_player_node": track_player_node,
}


def endpoints(node: str, setting: Setting, namespace: str = "/") -> Endpoints:
    """All endpoints of a node in a namespace, by absolute names.

    Raises:
        ValueError: nothing is known of a node of that name, or of the robot.
    """
    if node not in NODES:
        raise ValueError(f"node: expected one of {', '.join(NODES)}, found {node!r}")
    return (common(setting) | NODES[node](setting)).resolved(node, namespace)


def policy_xml(nodes: Iterable[str], setting: Setting, namespace: str = "/") -> str:
    """The SROS2 policy of nodes in a namespace, one enclave for each; all that it does not allow is denied.

    Raises:
        ValueError: see `endpoints`.
    """
    place = "/" + namespace.strip("/")
    policy = ElementTree.Element("policy", version=POLICY_VERSION)
    enclaves = ElementTree.SubElement(policy, "enclaves")
    for node in nodes:
        found = endpoints(node, setting, namespace)
        enclave = ElementTree.SubElement(enclaves, "enclave", path=enclave_of(node, namespace))
        profile = ElementTree.SubElement(ElementTree.SubElement(enclave, "profiles"), "profile", ns=place, node=node)
        for group, item, rule, names in (
            ("services", "service", "reply", found.serves),
            ("services", "service", "request", found.calls),
            ("topics", "topic", "subscribe", found.subscribes),
            ("topics", "topic", "publish", found.publishes),
            ("actions", "action", "call", found.asks),
        ):
            if names:
                rules = ElementTree.SubElement(profile, group, {rule: "ALLOW"})
                for name in sorted(names):
                    ElementTree.SubElement(rules, item).text = name
    ElementTree.indent(policy)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(policy, encoding="unicode")}\n'


@dataclass(frozen=True, slots=True)
class Arguments:
    """Write the SROS2 policy of a graph to the standard output.

    Attributes:
        graph: the graph whose nodes get an enclave each, those too that are started on a condition.
        robot: name of the robot, or its YAML file.
        namespace: of all nodes.
        cameras: that policy, recorder and dashboard look through; none for those that a simulated robot has.
        shadow: forbid the gateway to publish to the controllers, whatever its parameters say.
        output: what the arm's controllers take: trajectory, forward_command or servo.
        sim_time: let the nodes follow /clock.
        action: names of the gripper actions, for the graph gripper_action.
    """

    graph: Annotated[str, tyro.conf.Positional]
    robot: str = "panda"
    namespace: str = "/"
    cameras: tuple[str, ...] = ()
    shadow: bool = False
    output: Output = "trajectory"
    sim_time: bool = False
    action: str = ""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = tyro.cli(Arguments, args=args, prog="python -m ros_nodes.enclaves")
    # The machine that runs the nodes may have tf2 though this one has not.
    setting = Setting(
        arguments.robot,
        arguments.cameras,
        arguments.shadow,
        arguments.output,
        arguments.sim_time,
        tf2=True,
        action=arguments.action,
    )
    try:
        if arguments.graph not in GRAPHS:
            raise ValueError(f"graph: expected one of {', '.join(GRAPHS)}, found {arguments.graph!r}")
        if arguments.graph == "gripper_action" and not arguments.action:
            raise ValueError("action: expected the names of the gripper actions, found none")
        nodes = [node.executable for node in GRAPHS[arguments.graph].nodes]
        print(policy_xml(nodes, setting, arguments.namespace), end="")
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
