"""A gripper whose driver takes only GripperCommand goals, where a JointTrajectoryController of it would be.

`ros2 launch polyarm gripper_action.launch.py robot:=my_robot.yaml action:=franka_gripper/gripper_action`, beside the
drivers, see docs/real_arm.md and `ros_nodes/config/gripper_action.yaml`. `python -m ros_nodes.bringup --graph
gripper_action` starts the same graph without ros2 launch.
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
    """The arguments and nodes of the graph `gripper_action` in `ros_nodes/graphs.py`."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("robot", description="name of the robot, or its YAML file"),
            DeclareLaunchArgument(
                "action", description="names of the GripperCommand servers, one for each arm, separated by commas"
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
                default_value=config_file("gripper_action.yaml"),
                description="YAML file with the parameters of all nodes",
            ),
            DeclareLaunchArgument(
                "log_level",
                default_value="info",
                description="log level of all nodes",
                choices=["debug", "info", "warn", "error", "fatal"],
            ),
            graph_node(
                "gripper_action_node",
                {
                    "use_sim_time": value("use_sim_time", bool),
                    "robot": value("robot", str),
                    "action": value("action", str),
                },
            ),
        ]
    )
