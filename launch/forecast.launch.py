"""Forecasts of what moves around the arm: a second arm, and people.

`ros2 launch polyarm forecast.launch.py model:=runs/site`; places come on `tracked_agents`, see docs/dynamics.md and
`ros_nodes/config/forecast.yaml`. With `twin:=true tracks:=FILE` recorded tracks are played in the place of a tracker.
`python -m ros_nodes.bringup --graph forecast` starts the same graph without ros2 launch.
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
    """The arguments and nodes of the graph `forecast` in `ros_nodes/graphs.py`."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("model", description="directory of a model of gcrl"),
            DeclareLaunchArgument("robot", default_value="panda", description="name of the robot, or its YAML file"),
            DeclareLaunchArgument(
                "frame",
                default_value="",
                description="frame of the tracked places; that of the robot's base if left out",
            ),
            DeclareLaunchArgument(
                "twin",
                default_value="false",
                description="play recorded tracks in the place of a tracker",
                choices=["true", "false"],
            ),
            DeclareLaunchArgument("tracks", default_value="", description="file of the tracks that are played"),
            DeclareLaunchArgument(
                "slow_down",
                default_value="false",
                description="slow the arm where somebody may come near it",
                choices=["true", "false"],
            ),
            DeclareLaunchArgument(
                "autostart",
                default_value="true",
                description="foretell at once, without being asked",
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
                default_value=config_file("forecast.yaml"),
                description="YAML file with the parameters of all nodes",
            ),
            DeclareLaunchArgument(
                "log_level",
                default_value="info",
                description="log level of all nodes",
                choices=["debug", "info", "warn", "error", "fatal"],
            ),
            graph_node(
                "track_player_node",
                {
                    "use_sim_time": value("use_sim_time", bool),
                    "robot": value("robot", str),
                    "frame": value("frame", str),
                    "tracks": value("tracks", str),
                },
                "twin",
            ),
            graph_node(
                "forecast_node",
                {
                    "use_sim_time": value("use_sim_time", bool),
                    "robot": value("robot", str),
                    "frame": value("frame", str),
                    "model.path": value("model", str),
                    "autostart": value("autostart", bool),
                },
            ),
            graph_node(
                "separation_node",
                {"use_sim_time": value("use_sim_time", bool), "robot": value("robot", str)},
                "slow_down",
            ),
        ]
    )
