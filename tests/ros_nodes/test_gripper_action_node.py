"""The node between the trajectories of a gripper and an action, with a driver of the action beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.action import get_action_client_names_and_types_by_node
from rclpy.executors import SingleThreadedExecutor
from test_msgs.action import Fibonacci
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from policies.execution.trajectory import JointTrajectory
from policies.robots import get_drivers, get_robot
from ros_nodes import gripper_action_node, optional
from ros_nodes.convert import message_from_trajectory
from ros_nodes.enclaves import GRIPPER_COMMAND, Setting, endpoints, policy_xml
from ros_nodes.enclaves import main as enclaves_main
from ros_nodes.gripper_action_node import GripperActionNode, gripper_actions
from ros_nodes.qos import COMMAND, STATUS
from tests.ros_nodes.gripper_driver import GripperDriver, goal
from tests.ros_nodes.started_node import node_process
from tests.ros_nodes.test_enclaves import found_endpoints

NAMESPACE, ROBOT, ACTION = "/gripped", "ur5e", "robotiq/gripper_cmd"
SPEC, DRIVERS = get_robot(ROBOT), get_drivers(ROBOT)
PATIENCE_S = 60.0
OK, WARN, ERROR = 0, 1, 2
[GRIPPER] = SPEC.grippers
CLOSED, OPEN = (float(DRIVERS.to_driver(end, np.zeros(len(end)))[0][GRIPPER]) for end in (SPEC.lower, SPEC.upper))


class Beside:
    """What stands beside the node: the gateway's publisher, and the driver of the action."""

    def __init__(self) -> None:
        self.driver = GripperDriver(ACTION)
        topic, _ = gripper_actions(SPEC, DRIVERS, ACTION)[GRIPPER]
        self.gateway = self.driver.create_publisher(JointTrajectoryMessage, topic, COMMAND)
        self.told: dict[str, tuple[int, str]] = {}
        self.driver.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, STATUS)
        self.node = GripperActionNode()
        self.executor = SingleThreadedExecutor()
        for node in (self.driver, self.node):
            self.executor.add_node(node)
        self.until(lambda: self.gateway.get_subscription_count() == 1, "the node on the topic of its controller")

    def until(self, condition: Callable[[], object], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, f"expected {what}; asked {self.driver.asked}, told {self.told}"
            self.executor.spin_once(timeout_sec=0.02)

    def lead(self, *places: float, joint: str = DRIVERS.joint_names[GRIPPER], apart_s: float = 0.1) -> None:
        knots = np.array(places)[:, None]
        times = apart_s * np.arange(1, len(knots) + 1)
        self.gateway.publish(
            message_from_trajectory(JointTrajectory(time.time(), times, knots, np.zeros_like(knots)), [joint])
        )

    def health(self) -> tuple[int, str]:
        [found] = [told for name, told in self.told.items() if "gripper_action_node: gripper" in name] or [(-1, "")]
        return found

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.told[status.name] = (status.level[0], status.message)


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Iterator[Beside]:
    monkeypatch.setattr(optional, "GripperCommand", Fibonacci)
    monkeypatch.setattr(gripper_action_node, "make_goal", goal)
    rclpy.init(args=["--ros-args", "-r", f"__ns:={NAMESPACE}", "-p", f"robot:={ROBOT}", "-p", f"action:={ACTION}"])
    made = Beside()
    try:
        yield made
    finally:
        made.executor.shutdown()
        made.node.destroy_node()
        made.driver.destroy_node()
        rclpy.try_shutdown()


def thousandths(place: float) -> int:
    return round(1000 * place)


def test_the_gripper_follows_the_trajectories_of_its_controller(beside):
    beside.lead(OPEN)
    beside.until(lambda: beside.driver.asked == [thousandths(OPEN)], "the gripper opened")
    beside.lead(OPEN, (OPEN + CLOSED) / 2, CLOSED, CLOSED)
    beside.until(lambda: len(beside.driver.asked) == 2, "the gripper closed")
    assert beside.driver.asked[-1] == thousandths(CLOSED)
    beside.until(lambda: beside.health() == (OK, "the goal was reached"), "a goal that was reached")


def test_a_goal_that_is_refused_is_told_and_asked_for_again(beside):
    beside.driver.accepts = False
    beside.lead(CLOSED)
    beside.until(lambda: beside.health() == (WARN, "the goal was refused"), "a refusal")
    beside.driver.accepts = True
    beside.until(lambda: len(beside.driver.asked) > 1 and beside.health()[0] == OK, "the goal once more")


def test_a_trajectory_of_another_joint_moves_nothing(beside):
    beside.lead(OPEN)
    beside.until(lambda: beside.driver.asked, "the gripper opened")
    beside.lead(CLOSED, joint="elbow_joint")
    beside.until(lambda: beside.health()[0] == ERROR, "a refusal of the trajectory")
    assert "elbow_joint" in beside.health()[1]
    assert beside.driver.asked == [thousandths(OPEN)]


def test_a_driver_that_ends_is_told(beside):
    beside.until(lambda: beside.health()[0] == OK, "a node that is ready")
    beside.driver.server.destroy()
    beside.until(lambda: beside.health() == (ERROR, f"nobody serves the action {ACTION}"), "an error")
    beside.lead(CLOSED)
    beside.driver.server = GripperDriver(ACTION, context=beside.driver.context)
    beside.executor.add_node(beside.driver.server)
    beside.until(lambda: beside.driver.server.asked == [thousandths(CLOSED)], "the goal at the new server")
    beside.driver.server.destroy_node()


def test_the_node_has_exactly_the_endpoints_of_the_table(beside):
    expected = endpoints("gripper_action_node", Setting(robot=ROBOT, action=ACTION), NAMESPACE)
    found = found_endpoints(beside.driver, "gripper_action_node", NAMESPACE)
    hidden = "/_action/"
    for kind in ("publishes", "subscribes", "serves", "calls"):
        assert {n: k for n, k in getattr(found, kind).items() if hidden not in n} == getattr(expected, kind), kind
    asks = dict(get_action_client_names_and_types_by_node(beside.driver, "gripper_action_node", NAMESPACE))
    assert set(asks) == set(expected.asks) == {f"{NAMESPACE}/{ACTION}"}


def test_the_security_policy_lets_the_node_ask():
    policy = policy_xml(["gripper_action_node"], Setting(robot=ROBOT, action=ACTION), NAMESPACE)
    assert f'<actions call="ALLOW">\n            <action>{NAMESPACE}/{ACTION}</action>' in policy
    assert GRIPPER_COMMAND == "control_msgs/action/GripperCommand"


def test_the_command_for_the_security_policy_wants_the_action(capsys):
    assert enclaves_main(["gripper_action", "--robot", ROBOT]) == 1
    assert "action: expected the names of the gripper actions" in capsys.readouterr().err
    assert enclaves_main(["gripper_action", "--robot", ROBOT, "--action", ACTION]) == 0
    assert f"<action>/{ACTION}</action>" in capsys.readouterr().out


def test_without_control_msgs_the_node_does_not_start():
    if optional.GripperCommand is not None:
        pytest.skip("control_msgs is installed")
    with node_process("gripper_action_node", "/without", ends=2) as process:
        process.wait(PATIENCE_S)


@pytest.mark.parametrize(
    ("robot", "action", "complaint"),
    [
        ("ur5e", "a,b", "action: expected 1 names, some of them not empty, found 'a,b'"),
        ("aloha", ",", "action: expected 2 names"),
        ("panda", "gripper_action", "drivers.controllers: expected one with finger_joint1 alone"),
    ],
)
def test_actions_that_no_gripper_can_have_are_refused(robot, action, complaint):
    with pytest.raises(ValueError, match=complaint):
        gripper_actions(get_robot(robot), get_drivers(robot), action)
