"""Drive an arm whose drivers run: the arm gateway, which alone talks to its controllers, and the policy.

`ros2 launch polyarm real_arm.launch.py robot:=my_robot.yaml policy:=spatialvla_small` tells what the arm would do;
`shadow:=false` lets it move once a person has activated `policy_node`. Everything ends when gateway or policy dies, and
the gateway holds the arm before it does; nothing is started again by itself. `python -m ros_nodes.bringup --graph
real_arm` starts the same graph without ros2 launch.
"""

from launch.actions import DeclareLaunchArgument, Shutdown
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription


def config_file(name: str) -> PathJoinSubstitution:
    """Path of an installed configuration file."""
    return PathJoinSubstitution([FindPackageShare("polyarm"), "config", name])


def enclave(node: str) -> PathJoinSubstitution:
    """Path of a node's security enclave, used where SROS2 is on: its namespace and its name."""
    return PathJoinSubstitution(["/", LaunchConfiguration("namespace"), node])


def value(argument: str, kind: type) -> ParameterValue:
    """Value of a launch argument, as a parameter of one type."""
    return ParameterValue(LaunchConfiguration(argument), value_type=kind)


def graph_node(executable: str, parameters: dict, condition: str = "", needed: bool = True) -> Node:
    """One process of the graph, started where its condition is true; its end ends the graph if it is needed."""
    return Node(
        package="polyarm",
        executable=executable,
        name=executable,
        namespace=LaunchConfiguration("namespace"),
        parameters=[LaunchConfiguration("params_file"), parameters],
        ros_arguments=["--log-level", LaunchConfiguration("log_level"), "--enclave", enclave(executable)],
        additional_env={"FASTRTPS_DEFAULT_PROFILES_FILE": config_file("fastdds_shm.xml")},
        output="screen",
        on_exit=Shutdown(reason=f"{executable} ended") if needed else None,
        condition=IfCondition(LaunchConfiguration(condition)) if condition else None,
    )


def generate_launch_description() -> LaunchDescription:
    """The arguments and nodes of the graph `real_arm` in `ros_nodes/graphs.py`."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("robot", description="name of the robot, or its YAML file"),
            DeclareLaunchArgument(
                "policy",
                description="random, noop, mean_action, a shipped policy, a directory, or a hub id",
            ),
            DeclareLaunchArgument("device", default_value="cpu", description="torch device of the policy"),
            DeclareLaunchArgument(
                "scheduler",
                default_value="receding_horizon",
                description="how overlapping chunks become one motion",
                choices=[
                    "receding_horizon",
                    "temporal_ensembling",
                    "gated_ensembling",
                    "adaptive_ensembling",
                    "real_time_chunking",
                ],
            ),
            DeclareLaunchArgument(
                "shadow",
                default_value="true",
                description="tell what the arm would do, and move nothing",
                choices=["true", "false"],
            ),
            DeclareLaunchArgument(
                "autostart",
                default_value="false",
                description="activate the policy without being asked",
                choices=["true", "false"],
            ),
            DeclareLaunchArgument(
                "dashboard",
                default_value="false",
                description="start the status page with its emergency stop",
                choices=["true", "false"],
            ),
            DeclareLaunchArgument("dashboard_port", default_value="8080", description="port of the status page"),
            DeclareLaunchArgument(
                "use_sim_time",
                default_value="false",
                description="whether nodes follow /clock",
                choices=["true", "false"],
            ),
            DeclareLaunchArgument("namespace", default_value="", description="namespace of all nodes"),
            DeclareLaunchArgument(
                "params_file",
                default_value=config_file("real_arm.yaml"),
                description="YAML file with the parameters of all nodes",
            ),
            DeclareLaunchArgument(
                "log_level",
                default_value="info",
                description="log level of all nodes",
                choices=["debug", "info", "warn", "error", "fatal"],
            ),
            graph_node(
                "arm_gateway_node",
                {
                    "use_sim_time": value("use_sim_time", bool),
                    "robot": value("robot", str),
                    "shadow_mode": value("shadow", bool),
                },
            ),
            graph_node(
                "policy_node",
                {
                    "use_sim_time": value("use_sim_time", bool),
                    "robot": value("robot", str),
                    "policy.checkpoint": value("policy", str),
                    "policy.device": value("device", str),
                    "execution.scheduler.mode": value("scheduler", str),
                    "autostart": value("autostart", bool),
                },
            ),
            graph_node(
                "dashboard",
                {
                    "use_sim_time": value("use_sim_time", bool),
                    "robot": value("robot", str),
                    "port": value("dashboard_port", int),
                },
                "dashboard",
                needed=False,
            ),
        ]
    )
