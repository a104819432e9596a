"""`Rival`: somebody else who leads the arm, beside the gateway, as a planner does that nobody thought of."""

from __future__ import annotations

import time

import numpy as np
from rclpy.clock import Clock, ClockType
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from policies.execution.trajectory import JointTrajectory
from ros_nodes.controllers import controller_messages
from ros_nodes.fault_probe import FaultProbe
from ros_nodes.qos import COMMAND

PERIOD_S = 0.1
ASIDE_RAD, WITHIN_S = 0.1, 1.0


class Rival:
    """Leads the first joint aside from where it is, again and again, while the probe waits for something.

    Args:
        probe: hears the arm, and is who publishes.
    """

    def __init__(self, probe: FaultProbe) -> None:
        self._probe = probe
        topics = [controller.topic for controller in probe.drivers.controllers]
        self._publishers = [probe.create_publisher(JointTrajectoryMessage, topic, COMMAND) for topic in topics]
        self._target = np.array(probe.positions)
        self._target[probe.spec.arm_joints[0]] += ASIDE_RAD
        if probe.commands and probe.commands[-1].trajectory is not None:
            # What a gripper holds keeps it from where it is led.
            grippers = list(probe.spec.grippers)
            self._target[grippers] = probe.commands[-1].trajectory.positions[-1][grippers]
        self._timer = probe.create_timer(PERIOD_S, self._lead, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def end(self) -> None:
        """Publish no more."""
        self._probe.destroy_timer(self._timer)
        for publisher in self._publishers:
            self._probe.destroy_publisher(publisher)

    def _lead(self) -> None:
        trajectory = JointTrajectory(
            time.time(), np.array([WITHIN_S]), self._target[None], np.zeros((1, len(self._target)))
        )
        for publisher, message in zip(
            self._publishers, controller_messages(trajectory, self._probe.drivers), strict=True
        ):
            publisher.publish(message)
