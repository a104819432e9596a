"""`ControllerTrajectories`: what the controllers of a robot get, as one motion of the whole robot."""

from __future__ import annotations

from typing import Any

import numpy as np

from policies.execution.sensor_messages import trajectory_from_message
from policies.execution.trajectory import JointTrajectory
from policies.robots.drivers import RobotDrivers


class ControllerTrajectories:
    """Joins what the controllers get into one trajectory of the whole robot, in rad (m).

    Args:
        drivers: of the robot.
    """

    def __init__(self, drivers: RobotDrivers) -> None:
        self._drivers = drivers
        self._places = [list(controller.joints) for controller in drivers.controllers]
        self._names = [[drivers.joint_names[place] for place in places] for places in self._places]
        self._waiting: dict[int, JointTrajectory] = {}

    def take(self, controller: int, message: Any) -> JointTrajectory | None:
        """Take what a controller gets: a trajectory_msgs/JointTrajectory.

        Returns:
            The trajectory of all joints once the newest of each have the same stamp and times; None until then.

        Raises:
            ValueError: see `sensor_messages.trajectory_from_message`.
        """
        self._waiting[controller] = trajectory_from_message(message, self._names[controller])
        parts = [self._waiting[place] for place in sorted(self._waiting)]
        first = parts[0]
        if len(parts) < len(self._names) or not all(_together(first, part) for part in parts):
            return None
        self._waiting.clear()
        positions = np.empty((len(first.times), len(self._drivers.joint_names)))
        velocities = np.empty_like(positions)
        for places, part in zip(self._places, parts, strict=True):
            positions[:, places], velocities[:, places] = part.positions, part.velocities
        accelerations = None
        if all(part.accelerations is not None for part in parts):
            accelerations = np.empty_like(positions)
            for places, part in zip(self._places, parts, strict=True):
                accelerations[:, places] = part.knot_accelerations
            accelerations /= self._drivers.scale
        positions, velocities = self._drivers.from_driver(positions, velocities)
        return JointTrajectory(first.stamp, first.times, positions, velocities, accelerations)


def _together(one: JointTrajectory, other: JointTrajectory) -> bool:
    return one.stamp == other.stamp and np.array_equal(one.times, other.times)
