"""An encoder behind a camera: vectors, scores of phrases, progress.

`ros2 launch polyarm perception.launch.py encoder:=runs/clip`, with a simulated camera `twin:=true`; phrases and script
are parameters, see `ros_nodes/config/perception.yaml`.
`python -m ros_nodes.bringup --graph perception` starts the same graph without ros2 launch.
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


def graph_node(executable: str, parameters: dict, condition: str = "") -> Node:
    """One process of the graph, started where its condition is true; its end ends the graph."""
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
        condition=IfCondition(LaunchConfiguration(condition)) if condition else None,
    )


def generate_launch_description() -> LaunchDescription:
    """The arguments and nodes of the graph `perception` in `ros_nodes/graphs.py`."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("encoder", description="directory of an encoder, or of the run that trained it"),
            DeclareLaunchArgument("device", default_value="cpu", description="torch device of the encoder"),
            DeclareLaunchArgument("robot", default_value="panda", description="name of the robot, or its YAML file"),
            DeclareLaunchArgument("camera", default_value="front", description="name of the camera"),
            DeclareLaunchArgument(
                "twin",
                default_value="false",
                description="start the simulator in the place of the camera",
                choices=["true", "false"],
            ),
            DeclareLaunchArgument(
                "autostart",
                default_value="true",
                description="look at once, without being asked",
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
                default_value=config_file("perception.yaml"),
                description="YAML file with the parameters of all nodes",
            ),
            DeclareLaunchArgument(
                "log_level",
                default_value="info",
                description="log level of all nodes",
                choices=["debug", "info", "warn", "error", "fatal"],
            ),
            graph_node("simulator_node", {"robot": value("robot", str)}, "twin"),
            graph_node(
                "perception_node",
                {
                    "use_sim_time": value("use_sim_time", bool),
                    "robot": value("robot", str),
                    "camera": value("camera", str),
                    "encoder.path": value("encoder", str),
                    "encoder.device": value("device", str),
                    "autostart": value("autostart", bool),
                },
            ),
        ]
    )
