"""Replay an episode of a dataset through the arm gateway on the simulator, or with `twin:=false` on a real arm.

`ros2 launch polyarm replay.launch.py dataset:=runs/demonstrations episode:=0`. Everything ends with the replay.
A real arm moves with `shadow:=false` only, and slowly until a parameter file says otherwise.
`python -m ros_nodes.replay` starts the same graph without ros2 launch.
"""

from launch.actions import DeclareLaunchArgument, Shutdown
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, PythonExpression
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription


def config_file(name: str | PythonExpression) -> PathJoinSubstitution:
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
    """The arguments and nodes of the graph `replay` in `ros_nodes/graphs.py`."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "dataset",
                default_value="",
                description="directory of the dataset",
            ),
            DeclareLaunchArgument(
                "episode",
                default_value="0",
                description="number of the episode in it",
            ),
            DeclareLaunchArgument(
                "output",
                default_value="",
                description="JSON file for the result; empty for none",
            ),
            DeclareLaunchArgument(
                "robot",
                default_value="panda",
                description="name of the robot, or its YAML file",
            ),
            DeclareLaunchArgument(
                "twin",
                default_value="true",
                description="start the simulator in the place of the arm; false on a real arm",
                choices=["true", "false"],
            ),
            DeclareLaunchArgument(
                "shadow",
                default_value=PythonExpression(
                    ["'false' if '", LaunchConfiguration("twin"), "' == 'true' else 'true'"]
                ),
                description="tell what the arm would do, and move nothing; by default on a real arm",
                choices=["true", "false"],
            ),
            DeclareLaunchArgument(
                "task",
                default_value="reach",
                description="task whose scene the simulator shows",
            ),
            DeclareLaunchArgument(
                "seed",
                default_value="0",
                description="seed of that scene",
            ),
            DeclareLaunchArgument(
                "mode",
                default_value="realtime",
                description="lockstep: simulated time waits; realtime: wall clock",
                choices=["lockstep", "realtime"],
            ),
            DeclareLaunchArgument(
                "use_sim_time",
                default_value=PythonExpression(
                    ["'true' if '", LaunchConfiguration("mode"), "' == 'lockstep' else 'false'"]
                ),
                description="whether nodes follow /clock; by default in lockstep only",
                choices=["true", "false"],
            ),
            DeclareLaunchArgument(
                "namespace",
                default_value="",
                description="namespace of all nodes",
            ),
            DeclareLaunchArgument(
                "params_file",
                default_value=config_file(
                    PythonExpression(
                        ["'replay.yaml' if '", LaunchConfiguration("twin"), "' == 'true' else 'replay_real_arm.yaml'"]
                    )
                ),
                description="YAML file with the parameters of all nodes; by default another one on a real arm",
            ),
            DeclareLaunchArgument(
                "log_level",
                default_value="info",
                description="log level of all nodes",
                choices=["debug", "info", "warn", "error", "fatal"],
            ),
            graph_node("simulator_node", {"mode": value("mode", str), "robot": value("robot", str)}, "twin"),
            graph_node(
                "arm_gateway_node",
                {
                    "use_sim_time": value("use_sim_time", bool),
                    "mode": value("mode", str),
                    "robot": value("robot", str),
                    "shadow_mode": value("shadow", bool),
                },
            ),
            graph_node(
                "replay_node",
                {
                    "use_sim_time": value("use_sim_time", bool),
                    "mode": value("mode", str),
                    "robot": value("robot", str),
                    "twin": value("twin", bool),
                    "task": value("task", str),
                    "seed": value("seed", int),
                    "dataset": value("dataset", str),
                    "episode": value("episode", int),
                    "output": value("output", str),
                },
            ),
        ]
    )
