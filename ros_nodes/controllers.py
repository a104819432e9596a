"""The controllers of a robot's arms: each takes the trajectories of its own joints, on a topic of its own.

`TrajectoryOutput`, `ForwardCommandOutput` and `ServoOutput` publish what the three kinds of controllers take. A class
that samples ignores trajectories, and the one that sends trajectories is never asked to sample.
"""

from __future__ import annotations

import array
from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import TwistStamped
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from policies.execution.outputs import ToolTwists, forward_commands
from policies.execution.trajectory import JointState, JointTrajectory
from policies.robots.spec import Arm, RobotSpec
from ros_nodes.convert import message_from_trajectory, trajectory_from_message
from ros_nodes.qos import COMMAND


def command_topic(arm: Arm) -> str:
    """Topic of an arm's controller, for example `left_arm_controller/joint_trajectory`."""
    return f"{arm.name}_controller/joint_trajectory"


def arm_messages(trajectory: JointTrajectory, spec: RobotSpec) -> list[JointTrajectoryMessage]:
    """A message for the controller of each arm, in the order of the arms; all have the same stamp and times."""
    messages = []
    for arm in spec.arms:
        places = [*arm.joints, arm.gripper]
        own = trajectory.select(slice(None), places)
        messages.append(message_from_trajectory(own, [spec.joint_names[place] for place in places]))
    return messages


class TrajectoryOutput:
    """Publishes trajectories, for JointTrajectoryControllers.

    Args:
        node: who publishes.
        spec: the robot.
        topics: one for each arm; arms may share one.
    """

    def __init__(self, node: Node, spec: RobotSpec, topics: Sequence[str]) -> None:
        self._spec = spec
        made = {topic: node.create_publisher(JointTrajectoryMessage, topic, COMMAND) for topic in topics}
        self._publishers = [made[topic] for topic in topics]

    def send(self, trajectory: JointTrajectory) -> None:
        """Publish each arm's part of a trajectory."""
        for publisher, message in zip(self._publishers, arm_messages(trajectory, self._spec), strict=True):
            publisher.publish(message)

    def sample(self, desired: JointState) -> None:
        """Publish nothing: the controllers sample themselves."""

    def not_connected(self) -> int:
        """How many topics nobody listens to."""
        return sum(not publisher.get_subscription_count() for publisher in self._publishers)

    @property
    def topics(self) -> list[str]:
        """Full names of the topics that only this object may publish on."""
        return [publisher.topic_name for publisher in self._publishers]


class ForwardCommandOutput:
    """Publishes joint positions on `<arm>_controller/commands`, for ForwardCommandControllers.

    Args:
        node: who publishes.
        spec: the robot.
    """

    def __init__(self, node: Node, spec: RobotSpec) -> None:
        self._spec = spec
        self._publishers = [
            node.create_publisher(Float64MultiArray, f"{arm.name}_controller/commands", COMMAND) for arm in spec.arms
        ]

    def send(self, trajectory: JointTrajectory) -> None:
        """Publish nothing: the motion is sampled."""

    def sample(self, desired: JointState) -> None:
        """Publish where the joints ought to be now."""
        for publisher, positions in zip(self._publishers, forward_commands(self._spec, desired), strict=True):
            publisher.publish(Float64MultiArray(data=array.array("d", positions)))

    def not_connected(self) -> int:
        """How many topics nobody listens to."""
        return sum(not publisher.get_subscription_count() for publisher in self._publishers)

    @property
    def topics(self) -> list[str]:
        """Full names of the topics that only this object may publish on."""
        return [publisher.topic_name for publisher in self._publishers]


class ServoOutput:
    """Publishes tool velocities on `<arm>_servo/delta_twist_cmds`, for MoveIt Servo, stamped when they are sent.

    Servo's `command_in_type` must be `speed_units`, its `robot_link_command_frame` may be any: the header names the
    base frame. Gripper positions go to `<arm>_gripper_controller/commands`, a ForwardCommandController.

    Args:
        node: who publishes.
        spec: the robot.
    """

    def __init__(self, node: Node, spec: RobotSpec) -> None:
        self._node, self._spec, self._twists = node, spec, ToolTwists(spec)
        self._publishers = [
            node.create_publisher(TwistStamped, f"{arm.name}_servo/delta_twist_cmds", COMMAND) for arm in spec.arms
        ]
        self._grippers = [
            node.create_publisher(Float64MultiArray, f"{arm.name}_gripper_controller/commands", COMMAND)
            for arm in spec.arms
        ]

    def send(self, trajectory: JointTrajectory) -> None:
        """Publish nothing: the motion is sampled."""

    def sample(self, desired: JointState) -> None:
        """Publish the velocities that the tools ought to have now, and where the grippers ought to be."""
        stamp = self._node.get_clock().now().to_msg()
        for publisher, twist in zip(self._publishers, self._twists.sample(desired), strict=True):
            message = TwistStamped()
            message.header.stamp, message.header.frame_id = stamp, self._spec.base_frame
            linear, angular = message.twist.linear, message.twist.angular
            linear.x, linear.y, linear.z, angular.x, angular.y, angular.z = (float(value) for value in twist)
            publisher.publish(message)
        for publisher, position in zip(self._grippers, self._twists.grippers(desired), strict=True):
            publisher.publish(Float64MultiArray(data=array.array("d", [position])))

    def not_connected(self) -> int:
        """How many topics nobody listens to."""
        return sum(not publisher.get_subscription_count() for publisher in (*self._publishers, *self._grippers))

    @property
    def topics(self) -> list[str]:
        """Full names of the topics that only this object may publish on."""
        return [publisher.topic_name for publisher in (*self._publishers, *self._grippers)]


class ArmTrajectories:
    """Joins the trajectories of the arms into one of the whole robot.

    Args:
        spec: the robot.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self._names = [[spec.joint_names[place] for place in (*arm.joints, arm.gripper)] for arm in spec.arms]
        self._waiting: dict[int, JointTrajectory] = {}

    def take(self, arm: int, message: JointTrajectoryMessage) -> JointTrajectory | None:
        """Take what an arm's controller gets.

        Returns:
            The trajectory of all arms once the newest of each have the same stamp and times; None until then.

        Raises:
            ValueError: see `ros_nodes.convert.trajectory_from_message`.
        """
        self._waiting[arm] = trajectory_from_message(message, self._names[arm])
        parts = [self._waiting.get(place) for place in range(len(self._names))]
        first = parts[0]
        if first is None or not all(_together(first, part) for part in parts):
            return None
        self._waiting.clear()
        found = [part for part in parts if part is not None]
        accelerations = [part.accelerations for part in found if part.accelerations is not None]
        return JointTrajectory(
            first.stamp,
            first.times,
            np.hstack([part.positions for part in found]),
            np.hstack([part.velocities for part in found]),
            np.hstack(accelerations) if len(accelerations) == len(found) else None,
        )


def _together(one: JointTrajectory, other: JointTrajectory | None) -> bool:
    return other is not None and one.stamp == other.stamp and np.array_equal(one.times, other.times)
