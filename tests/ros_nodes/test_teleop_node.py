"""A joystick leads the simulated arm through the gateway, each in its process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import rclpy
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import JointState, Joy

from policies.execution.joint_states import JointStates
from policies.execution.joystick import JoyLayout
from policies.execution.kinematics import Kinematics
from policies.execution.teleoperation import TeleoperationConfig
from policies.robots import get_drivers, get_robot
from ros_nodes.graph_client import GraphClient
from ros_nodes.qos import joint_state_in
from tests.ros_nodes.started_node import node_process

NAMESPACE = "/led"
LAYOUT = JoyLayout()
PATIENCE_S = 60.0
JOY_PERIOD_S = 0.05
REST = 1e-3  # m/s


class Person(GraphClient):
    """Holds a joystick, or lets go of it, and watches the tool."""

    def __init__(self) -> None:
        super().__init__("person", lambda: False)
        self._kinematics = Kinematics(get_robot("panda"))
        self.deflection: float | None = None  # None: the joystick is unplugged
        self.deadman = True
        self.places: list[tuple[float, np.ndarray]] = []
        self._joy = self.create_publisher(Joy, "joy", 1)
        self._joints = self.create_subscription(JointState, "joint_states", self._watch, joint_state_in("realtime"))
        self._timer = self.create_timer(JOY_PERIOD_S, self._tell, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def until(self, condition: Callable[[], object], what: str) -> None:
        self.wait_until(condition, PATIENCE_S, what)

    @property
    def x(self) -> float:
        return float(self.places[-1][1][0])

    def rests(self) -> bool:
        """Whether the tool has not moved for half a second."""
        if len(self.places) < 2 or self.places[-1][0] - self.places[0][0] < 1.0:
            return False
        now, place = self.places[-1]
        before = next(where for at, where in reversed(self.places) if at < now - 0.5)
        return bool(np.linalg.norm(place - before) < 0.5 * REST)

    def _watch(self, message: JointState) -> None:
        positions = JointStates(get_drivers("panda")).add(message).positions
        self.places.append((time.monotonic(), self._kinematics.forward(positions)[:3, 3]))

    def _tell(self) -> None:
        if self.deflection is None:
            return
        axes, buttons = [0.0] * LAYOUT.most_axes, [0] * LAYOUT.most_buttons
        axes[LAYOUT.forward], buttons[LAYOUT.deadman] = self.deflection, int(self.deadman)
        self._joy.publish(Joy(axes=axes, buttons=buttons))


@pytest.fixture(scope="module")
def person() -> Iterator[Person]:
    rclpy.init(args=["--ros-args", "-r", f"__ns:={NAMESPACE}"])
    person = Person()
    patient = ("gateway.state_timeout_s:=2.0", "gateway.state_max_age_s:=2.0")
    try:
        with (
            node_process("simulator_node", NAMESPACE, "mode:=realtime", "camera_rate_hz:=0.2"),
            node_process("arm_gateway_node", NAMESPACE, *patient),
            node_process("teleop_node", NAMESPACE),
        ):
            person.until(lambda: person.count_subscribers("planned_trajectory"), "the gateway")
            person.until(lambda: person.count_subscribers("joy"), "teleoperation")
            person.trigger("simulator_node/reset", PATIENCE_S)
            person.trigger("arm_gateway_node/reset", PATIENCE_S)
            person.until(lambda: len(person.places) > 10, "joint states")
            yield person
    finally:
        person.end()
        rclpy.try_shutdown()


@pytest.mark.parametrize(
    ("direction", "let_go"),
    [
        (1.0, lambda person: setattr(person, "deadman", False)),
        (-1.0, lambda person: setattr(person, "deflection", None)),
    ],
    ids=["released", "unplugged"],
)
def test_the_arm_is_led_by_the_stick_and_holds_when_it_is_let_go(person, direction, let_go):
    person.deadman, person.deflection = True, None
    person.until(person.rests, "rest")
    start = person.x
    person.deflection = direction
    person.until(lambda: direction * (person.x - start) > 0.06, "motion along the deflection")
    let_go(person)
    # What is on its way when the stick is let go: a trajectory, and for a joystick that falls silent its time limit.
    config = TeleoperationConfig()
    longest = config.speed_m_s * (config.joy_timeout_s + 1.0)
    let_go_at = person.x
    person.until(person.rests, "rest")
    assert abs(person.x - let_go_at) < longest
    place = person.x
    end = time.monotonic() + 0.5
    person.until(lambda: time.monotonic() > end, "time")
    assert person.x == pytest.approx(place, abs=REST)


def test_without_the_deadman_button_the_stick_moves_nothing(person):
    person.deadman, person.deflection = False, 1.0
    person.until(person.rests, "rest")
    place, end = person.x, time.monotonic() + 1.0
    person.until(lambda: time.monotonic() > end, "time")
    assert person.x == pytest.approx(place, abs=REST)
