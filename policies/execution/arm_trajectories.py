"""`ArmTrajectories`: what the controllers of a robot's arms get, as one motion of the whole robot."""

from __future__ import annotations

from typing import Any

import numpy as np

from policies.execution.sensor_messages import trajectory_from_message
from policies.execution.trajectory import JointTrajectory
from policies.robots.spec import Arm, RobotSpec


def command_topic(arm: Arm) -> str:
    """Topic of an arm's controller, for example `left_arm_controller/joint_trajectory`."""
    return f"{arm.name}_controller/joint_trajectory"


class ArmTrajectories:
    """Joins the trajectories of the arms into one of the whole robot.

    Args:
        spec: the robot.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self._names = [[spec.joint_names[place] for place in (*arm.joints, arm.gripper)] for arm in spec.arms]
        self._waiting: dict[int, JointTrajectory] = {}

    def take(self, arm: int, message: Any) -> JointTrajectory | None:
        """Take what an arm's controller gets: a trajectory_msgs/JointTrajectory.

        Returns:
            The trajectory of all arms once the newest of each have the same stamp and times; None until then.

        Raises:
            ValueError: see `sensor_messages.trajectory_from_message`.
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
