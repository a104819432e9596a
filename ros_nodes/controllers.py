"""What goes to a robot's controllers, in the names and units of its drivers.

`TrajectoryOutput`, `ForwardCommandOutput` and `ServoOutput` publish what the three kinds of controllers take. A class
that samples ignores trajectories, and the one that sends trajectories is never asked to sample.
"""

from __future__ import annotations

import array
import time
from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import TwistStamped
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import JointState as JointStateMessage
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from policies.execution.outputs import ToolTwists, commands_topics, forward_commands, gripper_topics, twist_topics
from policies.execution.trajectory import JointState, JointTrajectory
from policies.robots.drivers import RobotDrivers
from policies.robots.spec import RobotSpec
from ros_nodes.convert import joint_state_from_arrays, message_from_trajectory, trajectory_from_message
from ros_nodes.qos import COMMAND


def controller_messages(trajectory: JointTrajectory, drivers: RobotDrivers) -> list[JointTrajectoryMessage]:
    """A message for each controller, in their order; all have the same stamp and times."""
    positions, velocities = drivers.to_driver(trajectory.positions, trajectory.velocities)
    messages = []
    accelerations = None if trajectory.accelerations is None else trajectory.accelerations * drivers.scale
    driven = JointTrajectory(trajectory.stamp, trajectory.times, positions, velocities, accelerations)
    for controller in drivers.controllers:
        own = driven.select(slice(None), controller.joints)
        messages.append(message_from_trajectory(own, [drivers.joint_names[place] for place in controller.joints]))
    return messages


def joint_state_message(
    positions: NDArray[np.float64], velocities: NDArray[np.float64], drivers: RobotDrivers, stamp: float
) -> JointStateMessage:
    """The joint state that a driver would publish of positions and velocities (n,), rad (m)."""
    return joint_state_from_arrays(*drivers.to_driver(positions, velocities), drivers.joint_names, stamp)


def executed_message(executed: JointTrajectory, drivers: RobotDrivers) -> JointTrajectoryMessage:
    """What the controllers of all joints followed, in the names and units of the drivers."""
    positions, velocities = drivers.to_driver(executed.positions, executed.velocities)
    driven = JointTrajectory(executed.stamp, executed.times, positions, velocities)
    return message_from_trajectory(driven, drivers.joint_names)


def executed_motion(message: JointTrajectoryMessage, drivers: RobotDrivers) -> JointTrajectory:
    """Inverse of `executed_message`.

    Raises:
        ValueError: see `ros_nodes.convert.trajectory_from_message`.
    """
    driven = trajectory_from_message(message, drivers.joint_names)
    positions, velocities = drivers.from_driver(driven.positions, driven.velocities)
    return JointTrajectory(driven.stamp, driven.times, positions, velocities)


def wait_until_heard(publishers: Sequence[Publisher], limit_s: float) -> None:
    """Wait until the subscribers of some reliable publishers have all that was published, for at most so long."""
    end = time.monotonic() + limit_s
    for publisher in publishers:
        publisher.wait_for_all_acked(Duration(seconds=max(0.0, end - time.monotonic())))


class TrajectoryOutput:
    """Publishes trajectories, for JointTrajectoryControllers.

    Args:
        node: who publishes.
        drivers: of the robot.
        topics: one for each controller.
    """

    def __init__(self, node: Node, drivers: RobotDrivers, topics: Sequence[str]) -> None:
        self._drivers = drivers
        self._publishers = [node.create_publisher(JointTrajectoryMessage, topic, COMMAND) for topic in topics]

    def send(self, trajectory: JointTrajectory) -> None:
        """Publish each controller's part of a trajectory."""
        for publisher, message in zip(self._publishers, controller_messages(trajectory, self._drivers), strict=True):
            publisher.publish(message)

    def sample(self, desired: JointState) -> None:
        """Publish nothing: the controllers sample themselves."""

    def not_connected(self) -> int:
        """How many topics nobody listens to."""
        return sum(not publisher.get_subscription_count() for publisher in self._publishers)

    def wait_until_heard(self, limit_s: float) -> None:
        """Wait until every controller has what was sent: it is lost where its sender ends before."""
        wait_until_heard(self._publishers, limit_s)

    @property
    def topics(self) -> list[str]:
        """Full names of the topics that only this object may publish on."""
        return [publisher.topic_name for publisher in self._publishers]


class ForwardCommandOutput:
    """Publishes joint positions on `<controller>/commands`, for ForwardCommandControllers.

    Args:
        node: who publishes.
        drivers: of the robot.
    """

    def __init__(self, node: Node, drivers: RobotDrivers) -> None:
        self._drivers = drivers
        self._publishers = [
            node.create_publisher(Float64MultiArray, topic, COMMAND) for topic in commands_topics(drivers)
        ]

    def send(self, trajectory: JointTrajectory) -> None:
        """Publish nothing: the motion is sampled."""

    def sample(self, desired: JointState) -> None:
        """Publish where the joints ought to be now."""
        for publisher, positions in zip(self._publishers, forward_commands(self._drivers, desired), strict=True):
            publisher.publish(Float64MultiArray(data=array.array("d", positions)))

    def not_connected(self) -> int:
        """How many topics nobody listens to."""
        return sum(not publisher.get_subscription_count() for publisher in self._publishers)

    def wait_until_heard(self, limit_s: float) -> None:
        """Wait until every controller has what was sent: it is lost where its sender ends before."""
        wait_until_heard(self._publishers, limit_s)

    @property
    def topics(self) -> list[str]:
        """Full names of the topics that only this object may publish on."""
        return [publisher.topic_name for publisher in self._publishers]


class ServoOutput:
    """Publishes tool velocities on `<arm>_servo/delta_twist_cmds`, for MoveIt Servo, stamped when they are sent.

    Servo's `command_in_type` must be `speed_units`, its `robot_link_command_frame` may be any: the header names the
    base frame as the driver calls it. Gripper positions go to ForwardCommandControllers, see `gripper_topics`.

    Args:
        node: who publishes.
        spec: the robot.
        drivers: of the robot.
    """

    def __init__(self, node: Node, spec: RobotSpec, drivers: RobotDrivers) -> None:
        self._node, self._twists = node, ToolTwists(spec, drivers)
        names = {ours: theirs for theirs, ours in drivers.frames.items()}
        self._base_frame = names.get(spec.base_frame, spec.base_frame)
        self._publishers = [node.create_publisher(TwistStamped, topic, COMMAND) for topic in twist_topics(spec)]
        self._grippers = [
            node.create_publisher(Float64MultiArray, topic, COMMAND) for topic in gripper_topics(spec, drivers)
        ]

    def send(self, trajectory: JointTrajectory) -> None:
        """Publish nothing: the motion is sampled."""

    def sample(self, desired: JointState) -> None:
        """Publish the velocities that the tools ought to have now, and where the grippers ought to be."""
        stamp = self._node.get_clock().now().to_msg()
        for publisher, twist in zip(self._publishers, self._twists.sample(desired), strict=True):
            message = TwistStamped()
            message.header.stamp, message.header.frame_id = stamp, self._base_frame
            linear, angular = message.twist.linear, message.twist.angular
            linear.x, linear.y, linear.z, angular.x, angular.y, angular.z = (float(value) for value in twist)
            publisher.publish(message)
        for publisher, position in zip(self._grippers, self._twists.grippers(desired), strict=True):
            publisher.publish(Float64MultiArray(data=array.array("d", [position])))

    def not_connected(self) -> int:
        """How many topics nobody listens to."""
        return sum(not publisher.get_subscription_count() for publisher in (*self._publishers, *self._grippers))

    def wait_until_heard(self, limit_s: float) -> None:
        """Wait until every controller has what was sent: it is lost where its sender ends before."""
        wait_until_heard([*self._publishers, *self._grippers], limit_s)

    @property
    def topics(self) -> list[str]:
        """Full names of the topics that only this object may publish on."""
        return [publisher.topic_name for publisher in (*self._publishers, *self._grippers)]
