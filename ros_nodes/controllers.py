"""The controllers of a robot's arms: each takes the trajectories of its own joints, on a topic of its own."""

from __future__ import annotations

from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from policies.execution.arm_trajectories import ArmTrajectories, command_topic
from policies.execution.trajectory import JointTrajectory
from policies.robots.spec import RobotSpec
from ros_nodes.convert import message_from_trajectory

__all__ = ["ArmTrajectories", "arm_messages", "command_topic"]


def arm_messages(trajectory: JointTrajectory, spec: RobotSpec) -> list[JointTrajectoryMessage]:
    """A message for the controller of each arm, in the order of the arms; all have the same stamp and times."""
    messages = []
    for arm in spec.arms:
        places = [*arm.joints, arm.gripper]
        own = JointTrajectory(
            trajectory.stamp, trajectory.times, trajectory.positions[:, places], trajectory.velocities[:, places]
        )
        messages.append(message_from_trajectory(own, [spec.joint_names[place] for place in places]))
    return messages
