"""Record demonstrations: simulator (or a real arm), arm gateway, teleoperation by a joystick, and the recorder.

`ros2 launch polyarm record.launch.py folder:=runs/bags`, on a real arm with `twin:=false`; Ctrl-C ends the bag.
A real arm moves with `shadow:=false` only, and slowly until a parameter file says otherwise.
`python -m ros_nodes.bringup --graph record` starts the same graph without ros2 launch.
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
    """The arguments and nodes of the graph `record` in `ros_nodes/graphs.py`."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "folder",
                default_value="runs/bags",
                description="directory for the bags",
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
                "teleop",
                default_value="true",
                description="start the node that leads the arm by a joystick",
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
            DeclareLaunchArgument(
                "namespace",
                default_value="",
                description="namespace of all nodes",
            ),
            DeclareLaunchArgument(
                "params_file",
                default_value=config_file(
                    PythonExpression(
                        ["'record.yaml' if '", LaunchConfiguration("twin"), "' == 'true' else 'record_real_arm.yaml'"]
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
            graph_node("simulator_node", {"robot": value("robot", str)}, "twin"),
            graph_node(
                "arm_gateway_node",
                {
                    "use_sim_time": value("use_sim_time", bool),
                    "robot": value("robot", str),
                    "shadow_mode": value("shadow", bool),
                },
            ),
            graph_node(
                "teleop_node", {"use_sim_time": value("use_sim_time", bool), "robot": value("robot", str)}, "teleop"
            ),
            graph_node(
                "recorder_node",
                {
                    "use_sim_time": value("use_sim_time", bool),
                    "recording.robot": value("robot", str),
                    "recording.folder": value("folder", str),
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
