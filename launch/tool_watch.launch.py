"""A tool that swings in the gripper, watched for collisions and slips.

`ros2 launch polyarm tool_watch.launch.py model:=runs/tool_model joint:=swing`, see docs/dynamics.md and
`ros_nodes/config/tool_watch.yaml`. `python -m ros_nodes.bringup --graph tool_watch` starts the same graph without ros2
launch.
"""

from launch.actions import DeclareLaunchArgument, Shutdown
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


def graph_node(executable: str, parameters: dict) -> Node:
    """One process of the graph; its end ends the graph."""
    return Node(
        package="polyarm",
        executable=executable,
        name=executable,
        namespace=LaunchConfiguration("namespace"),
        parameters=[LaunchConfiguration("params_file"), parameters],
        ros_arguments=["--log-level", LaunchConfiguration("log_level"), "--enclave", enclave(executable)],
        additional_env={"FASTRTPS_DEFAULT_PROFILES_FILE": config_file("fastdds_shm.xml")},
        output="screen",
        on_exit=Shutdown(reason=f"{executable} ended"),
    )


def generate_launch_description() -> LaunchDescription:
    """The arguments and nodes of the graph `tool_watch` in `ros_nodes/graphs.py`."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("model", description="directory of a Hamiltonian network of one joint"),
            DeclareLaunchArgument("joint", description="name of the joint that the tool swings in"),
            DeclareLaunchArgument("robot", default_value="panda", description="name of the robot, or its YAML file"),
            DeclareLaunchArgument(
                "autostart",
                default_value="true",
                description="watch at once, without being asked",
                choices=["true", "false"],
            ),
            DeclareLaunchArgument(
                "use_sim_time",
                default_value="false",
                description="whether nodes follow /clock",
                choices=["true", "false"],
            ),
            DeclareLaunchArgument("namespace", default_value="", description="namespace of all nodes"),
            DeclareLaunchArgument(
                "params_file",
                default_value=config_file("tool_watch.yaml"),
                description="YAML file with the parameters of all nodes",
            ),
            DeclareLaunchArgument(
                "log_level",
                default_value="info",
                description="log level of all nodes",
                choices=["debug", "info", "warn", "error", "fatal"],
            ),
            graph_node(
                "tool_watch_node",
                {
                    "use_sim_time": value("use_sim_time", bool),
                    "robot": value("robot", str),
                    "joint": value("joint", str),
                    "model.path": value("model", str),
                    "autostart": value("autostart", bool),
                },
            ),
        ]
    )
