"""Evaluate a policy in simulation: simulator, arm gateway, policy, and the episode runner that conducts them.

`ros2 launch polyarm sim_eval.launch.py policy:=spatialvla_small task:=pick`. Everything ends when the runner ends, or
when any node dies. `python -m ros_nodes.bringup --graph sim_eval` starts the same graph without ros2 launch.
"""

from launch.actions import DeclareLaunchArgument, Shutdown
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, PythonExpression
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

ASKED_EVERY_8 = ("rdt", "rdt_small")
ALOHA_TASKS = ("transfer_cube", "sort", "lift_tray", "insertion")


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
    """The arguments and nodes of the graph `sim_eval` in `ros_nodes/graphs.py`."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "policy",
                default_value="spatialvla_small",
                description="random, noop, mean_action, a shipped policy, a directory, or a hub id",
            ),
            DeclareLaunchArgument("device", default_value="cpu", description="torch device of the policy"),
            DeclareLaunchArgument(
                "task",
                default_value="all",
                description="tasks of one robot, separated by commas, or all those of the panda",
            ),
            DeclareLaunchArgument(
                "robot",
                default_value=PythonExpression(
                    ["'aloha' if {*'", LaunchConfiguration("task"), f"'.split(',')}} & {{*{ALOHA_TASKS}}} else 'panda'"]
                ),
                description="name of the robot, or its YAML file; by default that of the tasks",
            ),
            DeclareLaunchArgument(
                "suite", default_value="nominal", description="variation suites, separated by commas"
            ),
            DeclareLaunchArgument(
                "severity", default_value="1", description="grades of the suites from 1 to 3, separated by commas"
            ),
            DeclareLaunchArgument("episodes", default_value="5", description="episodes per task, suite and severity"),
            DeclareLaunchArgument("seed", default_value="0", description="seed of the run"),
            DeclareLaunchArgument(
                "query_steps",
                default_value=PythonExpression(
                    ["'8' if '", LaunchConfiguration("policy"), f"' in {ASKED_EVERY_8} else '1'"]
                ),
                description="control steps between two queries of the policy; by default what a shipped one says",
            ),
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
                "blank_images",
                default_value="false",
                description="show the policy black images",
                choices=["true", "false"],
            ),
            DeclareLaunchArgument(
                "shuffle_instructions",
                default_value="false",
                description="give the policy wrong instructions",
                choices=["true", "false"],
            ),
            DeclareLaunchArgument(
                "videos",
                default_value="1",
                description="lockstep: film so many episodes of each task, suite and severity",
            ),
            DeclareLaunchArgument(
                "joint_targets",
                default_value="false",
                description="store all joint targets in episodes.parquet",
                choices=["true", "false"],
            ),
            DeclareLaunchArgument(
                "output", default_value="runs/eval", description="directory for summary, episodes, videos and report"
            ),
            DeclareLaunchArgument(
                "mode",
                default_value="lockstep",
                description="lockstep: simulated time waits for the policy; realtime: wall clock",
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
            DeclareLaunchArgument("namespace", default_value="", description="namespace of all nodes"),
            DeclareLaunchArgument(
                "params_file",
                default_value=config_file("sim_eval.yaml"),
                description="YAML file with the parameters of all nodes",
            ),
            DeclareLaunchArgument(
                "log_level",
                default_value="info",
                description="log level of all nodes",
                choices=["debug", "info", "warn", "error", "fatal"],
            ),
            graph_node(
                "simulator_node",
                {
                    "mode": value("mode", str),
                    "query_steps": value("query_steps", int),
                    "robot": value("robot", str),
                    "perturbation.blank_images": value("blank_images", bool),
                    "perturbation.shuffle_instructions": value("shuffle_instructions", bool),
                },
            ),
            graph_node(
                "arm_gateway_node",
                {
                    "use_sim_time": value("use_sim_time", bool),
                    "mode": value("mode", str),
                    "robot": value("robot", str),
                },
            ),
            graph_node(
                "policy_node",
                {
                    "use_sim_time": value("use_sim_time", bool),
                    "mode": value("mode", str),
                    "robot": value("robot", str),
                    "policy.checkpoint": value("policy", str),
                    "policy.device": value("device", str),
                    "execution.scheduler.mode": value("scheduler", str),
                },
            ),
            graph_node(
                "episode_runner_node",
                {
                    "evaluation.policy": value("policy", str),
                    "evaluation.output": value("output", str),
                    "evaluation.task": value("task", str),
                    "evaluation.suite": value("suite", str),
                    "evaluation.severity": value("severity", str),
                    "evaluation.episodes": value("episodes", int),
                    "evaluation.seed": value("seed", int),
                    "evaluation.query_steps": value("query_steps", int),
                    "evaluation.blank_images": value("blank_images", bool),
                    "evaluation.shuffle_instructions": value("shuffle_instructions", bool),
                    "evaluation.videos": value("videos", int),
                    "evaluation.joint_targets": value("joint_targets", bool),
                    "evaluation.scheduler": value("scheduler", str),
                    "evaluation.device": value("device", str),
                    "evaluation.robot": value("robot", str),
                },
            ),
        ]
    )
