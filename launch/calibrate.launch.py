"""Calibrate a camera: where it is fixed, its lens, or how late its stamps are.

`ros2 launch polyarm calibrate.launch.py task:=hand_eye camera:=wrist setup:=eye_in_hand`. The drivers of camera and arm
run already. Everything ends when the result is written. `python -m ros_nodes.calibrate_cameras` is the same without
ros2 launch.
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


def generate_launch_description() -> LaunchDescription:
    """The arguments, and the one node."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "task",
                default_value="hand_eye",
                description="where the camera is fixed, its lens, or how late its stamps are",
                choices=["hand_eye", "intrinsics", "latency"],
            ),
            DeclareLaunchArgument("camera", default_value="wrist", description="name of the camera, as in its topics"),
            DeclareLaunchArgument("robot", default_value="panda", description="name of the robot"),
            DeclareLaunchArgument(
                "setup",
                default_value="eye_in_hand",
                description="for hand_eye, whether the camera is on the hand or the board is",
                choices=["eye_in_hand", "eye_to_hand"],
            ),
            DeclareLaunchArgument(
                "tool_frame",
                default_value="",
                description="body or site that carries camera or board; empty: the first arm's tool",
            ),
            DeclareLaunchArgument(
                "output", default_value="runs/calibration", description="directory for parameters, report and pictures"
            ),
            DeclareLaunchArgument(
                "use_sim_time",
                default_value="false",
                description="whether the node follows /clock",
                choices=["true", "false"],
            ),
            DeclareLaunchArgument("namespace", default_value="", description="namespace of the node"),
            DeclareLaunchArgument(
                "params_file",
                default_value=config_file("calibrate.yaml"),
                description="YAML file with the board's sizes",
            ),
            DeclareLaunchArgument(
                "log_level",
                default_value="info",
                description="log level of the node",
                choices=["debug", "info", "warn", "error", "fatal"],
            ),
            Node(
                package="polyarm",
                executable="calibrate_cameras",
                name="calibrate_cameras",
                namespace=LaunchConfiguration("namespace"),
                parameters=[
                    LaunchConfiguration("params_file"),
                    {
                        "use_sim_time": value("use_sim_time", bool),
                        "task": value("task", str),
                        "camera": value("camera", str),
                        "robot": value("robot", str),
                        "setup": value("setup", str),
                        "tool_frame": value("tool_frame", str),
                        "output": value("output", str),
                    },
                ],
                ros_arguments=[
                    "--log-level",
                    LaunchConfiguration("log_level"),
                    "--enclave",
                    enclave("calibrate_cameras"),
                ],
                additional_env={"FASTRTPS_DEFAULT_PROFILES_FILE": config_file("fastdds_shm.xml")},
                output="screen",
                on_exit=Shutdown(reason="the calibration ended"),
            ),
        ]
    )
