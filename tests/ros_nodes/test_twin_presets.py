"""Presets of real arms on the twin: simulator and gateway, as processes, move it by its drivers' names and hold it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from policies.execution.joint_states import JointStates
from policies.execution.trajectory import JointTrajectory
from policies.robots import get_drivers, get_robot
from ros_nodes.convert import message_from_trajectory
from ros_nodes.graph_client import GraphClient
from ros_nodes.qos import COMMAND, STATUS, joint_state_in
from tests.ros_nodes.started_node import node_process

PATIENCE_S = 120.0
NAMESPACE = "/preset"
SWING_RAD, SWING_S = 0.2, 2.0
PLAN_AGAIN_S = 15.0
NEAR_RAD = 0.03
AT_REST = 0.01  # rad/s (m/s)
# Long patience: a busy machine must not hold the arm.
PATIENT = ("gateway.command_timeout_s:=60.0", "gateway.state_timeout_s:=5.0", "gateway.state_max_age_s:=5.0")


class Person(GraphClient):
    """Plans in the place of a policy, and watches the arm."""

    def __init__(self, robot: str) -> None:
        super().__init__("person", lambda: False)
        self.spec, drivers = get_robot(robot), get_drivers(robot)
        self._joint_states = JointStates(drivers)
        self.positions = self.velocities = np.full(len(self.spec.joint_names), np.nan)
        self.gateway = "silent"
        self._plan = self.create_publisher(JointTrajectoryMessage, "planned_trajectory", COMMAND)
        self._kept = [
            self.create_subscription(JointState, drivers.joint_states, self._on_joints, joint_state_in("realtime")),
            self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, STATUS),
        ]

    def aside(self) -> np.ndarray:
        """Where the joints (n,) are when the first one has turned towards the middle of its range."""
        goal = self.positions.copy()
        goal[self.spec.grippers] = self.spec.home[self.spec.grippers]
        middle = (self.spec.lower[0] + self.spec.upper[0]) / 2
        goal[0] += SWING_RAD if goal[0] < middle else -SWING_RAD
        return goal

    def lead_to(self, goal: np.ndarray) -> None:
        """Plan a way, and wait until the first joint is there; a plan that the twin refused is made again."""
        planned_at = -np.inf

        def there() -> bool:
            nonlocal planned_at
            if time.monotonic() - planned_at > PLAN_AGAIN_S and self.gateway == "HOLDING":
                planned_at = time.monotonic()
                self._send_way(goal)
            return abs(self.positions[0] - goal[0]) < NEAR_RAD

        self.until(there, "motion of the first joint")

    def _send_way(self, goal: np.ndarray) -> None:
        s = np.linspace(0.0, 1.0, 9)[1:, None]
        way = goal - self.positions
        positions = self.positions + way * (3 * s**2 - 2 * s**3)
        velocities = way * (6 * s - 6 * s**2) / SWING_S
        trajectory = JointTrajectory(time.time(), SWING_S * s[:, 0], positions, velocities)
        self._plan.publish(message_from_trajectory(trajectory, self.spec.joint_names))

    def until(self, condition, what: str) -> None:
        """Wait for something; says what the gateway tells where it does not come."""
        try:
            self.wait_until(condition, PATIENCE_S, what)
        except Exception as error:
            raise AssertionError(f"{error}; the gateway: {self.gateway}; joints {self.positions}") from error

    def _on_joints(self, message: JointState) -> None:
        if (state := self._joint_states.add(message)) is not None:
            self.positions, self.velocities = state.positions, state.velocities

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == f"{NAMESPACE[1:]}/arm_gateway_node: gateway":
                self.gateway = status.message


@pytest.fixture(params=["fr3", "ur5e", "xarm7", "so101"])
def person(request: pytest.FixtureRequest) -> Iterator[Person]:
    robot = f"robot:={request.param}"
    simulator = ("mode:=realtime", "autostart:=true", "camera_rate_hz:=1.0", "episode.cameras:=['wrist']")
    size = ("simulation.width:=32", "simulation.height:=32")
    rclpy.init(args=["--ros-args", "-r", f"__ns:={NAMESPACE}"])
    try:
        with (
            node_process("simulator_node", NAMESPACE, robot, *simulator, *size),
            node_process("arm_gateway_node", NAMESPACE, robot, "mode:=realtime", *PATIENT),
        ):
            found = Person(request.param)
            try:
                yield found
            finally:
                found.end()
    finally:
        rclpy.try_shutdown()


def test_a_preset_moves_as_it_is_told_and_is_held(person):
    person.until(lambda: person.gateway == "HOLDING" and np.isfinite(person.positions).all(), "a gateway that is ready")
    person.until(lambda: person.count_subscribers("planned_trajectory") > 0, "a gateway that hears plans")
    start = person.positions
    goal = person.aside()
    person.lead_to(goal)
    person.until(lambda: person.gateway == "HOLDING", "a gateway that holds")
    person.until(lambda: np.abs(person.velocities).max() < AT_REST, "rest")
    assert abs(person.positions[0] - start[0]) > SWING_RAD - NEAR_RAD
    np.testing.assert_allclose(person.positions, goal, atol=NEAR_RAD)
