"""The controllers of a robot's arms: each takes the trajectories of its own joints, on a topic of its own."""

from __future__ import annotations

import numpy as np
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from policies.execution.trajectory import JointTrajectory
from policies.robots.spec import Arm, RobotSpec
from ros_nodes.convert import message_from_trajectory, trajectory_from_message


def command_topic(arm: Arm) -> str:
    """Topic of an arm's controller, for example `left_arm_controller/joint_trajectory`."""
    return f"{arm.name}_controller/joint_trajectory"


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
        return JointTrajectory(
            first.stamp,
            first.times,
            np.hstack([part.positions for part in parts if part is not None]),
            np.hstack([part.velocities for part in parts if part is not None]),
        )


def _together(one: JointTrajectory, other: JointTrajectory | None) -> bool:
    return other is not None and one.stamp == other.stamp and np.array_equal(one.times, other.times)
