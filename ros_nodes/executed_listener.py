"""`ExecutedListener`: what the simulator's controllers followed, and when they took each command."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from policies.execution.trajectory import JointTrajectory
from policies.robots.drivers import RobotDrivers
from ros_nodes.controllers import executed_motion
from ros_nodes.qos import STATUS
from sim.motion_trace import MotionTrace


class ExecutedListener:
    """Listens to `simulator_node/executed` from the moment it is made.

    Args:
        node: who listens.
        drivers: of the robot.

    Attributes:
        heard_until: seconds up to which it is known; minus infinity before the first message.
    """

    def __init__(self, node: Node, drivers: RobotDrivers) -> None:
        self._drivers = drivers
        self._parts: list[JointTrajectory] = []
        self.heard_until = -np.inf
        self._subscription = node.create_subscription(
            JointTrajectoryMessage, "simulator_node/executed", self._on_executed, STATUS
        )

    def between(self, begin: float, end: float) -> tuple[MotionTrace, NDArray[np.float64]]:
        """What was followed from `begin` to `end`, seconds, and the times (K,) of its first samples after a command."""
        # Two threads of the simulator tell, so that one part may overtake another.
        parts = sorted(
            (part for part in self._parts if part.end >= begin and part.stamp <= end), key=lambda part: part.stamp
        )
        count = len(self._drivers.joint_names)
        times = np.concatenate([part.stamp + part.times for part in parts] or [np.empty(0)])
        positions = np.concatenate([part.positions for part in parts] or [np.empty((0, count))])
        velocities = np.concatenate([part.velocities for part in parts] or [np.empty((0, count))])
        taken = np.array([part.stamp + part.times[0] for part in parts])
        return MotionTrace(times, positions, velocities).between(begin, end), taken[(taken >= begin) & (taken <= end)]

    def _on_executed(self, message: JointTrajectoryMessage) -> None:
        part = executed_motion(message, self._drivers)
        self._parts.append(part)
        self.heard_until = max(self.heard_until, part.end)
