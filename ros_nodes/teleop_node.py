"""`teleop_node`: a person leads the arm by a joystick on `joy` (sensor_msgs/Joy), through the arm gateway.

Publishes on `planned_trajectory`, in the place of `policy_node`; the gateway judges, and holds, as it always does.
`keyboard_joy_node` makes a joystick of the keyboard.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import JointState, Joy
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from policies.execution.joint_states import JointStates
from policies.execution.joystick import JoyLayout
from policies.execution.teleoperation import Teleoperation, TeleoperationConfig
from policies.robots import get_drivers, get_robot
from ros_nodes.convert import message_from_trajectory
from ros_nodes.diagnostics import Diagnostics, Health, Level
from ros_nodes.node_process import run_node
from ros_nodes.params import declare
from ros_nodes.qos import COMMAND, joint_state_in

JOY_DEPTH = 1  # what an older deflection asked for is over
STATE_LIMIT_S = 0.25


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What is led.

    Attributes:
        robot: name of the robot.
    """

    robot: str = "panda"


class TeleopNode(Node):
    """Topics and timer around a `Teleoperation`."""

    def __init__(self) -> None:
        super().__init__("teleop_node")
        robot = declare(self, NodeConfig).robot
        self._spec, self._drivers = get_robot(robot), get_drivers(robot)
        self._joint_states = JointStates(self._drivers)
        config = declare(self, TeleoperationConfig, "teleoperation")
        self._teleoperation = Teleoperation(self._spec, config, declare(self, JoyLayout, "joystick"))
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._positions: NDArray[np.float64] | None = None
        self._heard_at = 0.0
        self._refusal = ""
        self._sent = 0
        self._out = self.create_publisher(JointTrajectoryMessage, "planned_trajectory", COMMAND)
        self._subscriptions_made = [
            self.create_subscription(
                JointState, self._drivers.joint_states, self._on_joints, joint_state_in("realtime")
            ),
            self.create_subscription(Joy, "joy", self._on_joy, JOY_DEPTH),
        ]
        self._diagnostics = Diagnostics(self, self._spec.name, {"teleoperation": self._health})
        self._timer = self.create_timer(config.period_s, self._on_tick, clock=self._steady)

    def _on_joints(self, message: JointState) -> None:
        try:
            measured = self._joint_states.add(message)
        except ValueError as error:
            self._refuse(error)
            return
        if measured is None:  # some joints only
            return
        self._positions = measured.positions
        self._heard_at = self._steady_s()

    def _on_joy(self, message: Joy) -> None:
        try:
            self._teleoperation.on_joy(message.axes, message.buttons, self._steady_s())
        except ValueError as error:
            self._refuse(error)
            return
        self._refusal = ""

    def _on_tick(self) -> None:
        # Without joint states nothing is sent: the gateway, which misses them too, holds the arm.
        if self._positions is not None and self._steady_s() - self._heard_at <= STATE_LIMIT_S:
            now = self.get_clock().now().nanoseconds * 1e-9
            trajectory = self._teleoperation.step(self._positions, now, self._steady_s())
            if trajectory is not None:
                self._out.publish(message_from_trajectory(trajectory, self._spec.joint_names))
                self._sent += 1
        self._diagnostics.publish_changes()

    def _refuse(self, error: ValueError) -> None:
        self._refusal = str(error)
        self.get_logger().error(self._refusal, throttle_duration_sec=2.0)

    def _health(self) -> Health:
        if self._refusal:
            return Health(Level.ERROR, f"refused: {self._refusal}", self._values)
        if self._steady_s() - self._heard_at > STATE_LIMIT_S:
            return Health(Level.ERROR, "no joint states come", self._values)
        leads = not self._teleoperation.reason
        return Health(Level.OK, "leads the arm" if leads else "does not lead the arm", self._values)

    def _values(self) -> Mapping[str, object]:
        arm = self._spec.arms[self._teleoperation.arm].name
        return {"arm": arm, "sent": self._sent, "not leading because": self._teleoperation.reason}

    def _steady_s(self) -> float:
        return self._steady.now().nanoseconds * 1e-9


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node(TeleopNode, args)


if __name__ == "__main__":
    sys.exit(main())
