"""The dashboard watches and stops a robot: arm, gateway and dashboard are processes, or threads, of their own."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import rclpy

from ros_nodes.dashboard import Dashboard
from ros_nodes.diagnostics import Level
from tests.ros_nodes.fake_robot import SPEC, FakeRobot, gateway_process
from tests.ros_nodes.started_node import node_process

NAMESPACE = "/watched"
GATEWAY = "arm_gateway_node: gateway"
START_LIMIT_S = 120.0


@dataclass
class Page:
    """The dashboard as a browser uses it."""

    port: int
    token: str = ""

    def request(self, method: str, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, headers={"Authorization": f"Bearer {self.token}"})
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == http.HTTPStatus.OK, body
            return body
        finally:
            connection.close()

    def load(self) -> bool:
        try:
            self.token = re.search(r'name="token" content="([^"]+)"', self.request("GET", "/").decode())[1]
        except OSError:
            return False
        return True

    def state(self) -> dict:
        return json.loads(self.request("GET", "/state"))

    def press(self, button: str) -> dict:
        return json.loads(self.request("POST", f"/{button}"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def watched() -> Iterator[tuple[FakeRobot, Page]]:
    page = Page(free_port())
    with (
        FakeRobot(NAMESPACE, cameras=("front",)) as robot,
        # Long patience: what stops the arm here shall be the button, not a watchdog.
        gateway_process(robot, "gateway.command_timeout_s:=30.0"),
        node_process("dashboard", NAMESPACE, f"port:={page.port}", "cameras:=['front']"),
    ):
        robot.wait_for(page.load, "the page", limit_s=START_LIMIT_S)
        robot.wait_until_heard(listeners=2)
        robot.wait_for_diagnostic(GATEWAY, Level.OK, "HOLDING")
        robot.wait_for(lambda: page.state()["estop"]["gateway_listens"], "a gateway that hears the dashboard")
        yield robot, page


def test_the_page_tells_what_the_robot_does(watched):
    robot, page = watched
    robot.instruct("stack the cubes")
    robot.wait_for(lambda: page.state()["cameras"][0]["frame"] > 0, "a picture")
    robot.wait_for(lambda: page.state()["instruction"] == "stack the cubes", "the instruction")
    assert page.request("GET", "/camera/front").startswith(b"\xff\xd8")
    state = page.state()
    assert (state["robot"], state["namespace"]) == ("panda", NAMESPACE)
    robot.wait_for_rest()
    robot.wait_for(
        lambda: page.state()["motion"]["samples"][-1]["executed"] == pytest.approx(robot.trace[-1].positions, abs=1e-3),
        "the pose of the resting arm on the page",
    )
    assert {"/watched/arm_gateway_node", "/watched/dashboard"} <= {node["name"] for node in state["nodes"]}
    own = {entry["concern"] for entry in state["diagnostics"] if entry["own"]}
    assert own == {"gateway", "clock"}


def test_the_emergency_stop_stops_a_moving_arm_and_stays_until_released_and_reset(watched):
    robot, page = watched
    robot.plan(robot.ramp(knots=60))
    robot.wait_for_motion()
    assert page.press("estop")["done"]
    robot.wait_for_diagnostic(GATEWAY, Level.ERROR, "ESTOPPED")
    robot.wait_for_rest()
    assert abs(robot.trace[-1].positions - robot.ramp(knots=60).positions[-1]).max() > 0.1, "stopped before the end"

    held = robot.trace[-1].positions
    robot.plan(robot.ramp())
    robot.wait_for_diagnostic(GATEWAY, Level.ERROR, "not ready: ESTOPPED")
    answer = page.press("reset")
    assert not answer["done"]
    assert "still pressed" in answer["message"]
    assert robot.trace[-1].positions == pytest.approx(held, abs=1e-4)

    assert page.press("release")["done"]
    assert robot.health(GATEWAY)[2]["state"] == "ESTOPPED", "a release alone lets nothing move"
    assert page.press("reset")["done"]
    robot.wait_for_diagnostic(GATEWAY, Level.OK, "HOLDING")
    robot.plan(robot.ramp(knots=60))
    robot.wait_for_motion()
    robot.wait_for(lambda: page.state()["motion"]["ahead"], "the plan on the page")
    assert page.press("estop")["done"]
    robot.wait_for_diagnostic(GATEWAY, Level.ERROR, "ESTOPPED")


def test_a_plan_that_makes_no_sense_is_told_on_the_page(watched):
    robot, page = watched
    trajectory = robot.ramp()
    trajectory.positions[:] = float("nan")
    robot.plan(trajectory)
    robot.wait_for(lambda: any("finite" in entry["reason"] for entry in page.state()["problems"]), "the problem")


@pytest.fixture
def dashboard(request: pytest.FixtureRequest) -> Iterator[Dashboard]:
    rclpy.init(args=["--ros-args", *(word for setting in request.param for word in ("-p", setting))])
    try:
        node = Dashboard()
        try:
            yield node
        finally:
            node.stop()
            node.destroy_node()
    finally:
        rclpy.try_shutdown()


@pytest.mark.parametrize("dashboard", [("port:=0",)], indirect=True)
def test_without_a_gateway_a_button_says_that_it_did_nothing(dashboard):
    pressed = dashboard._press()
    assert not pressed.done
    assert "no gateway hears /estop" in pressed.message
    reset = dashboard._reset_gateway()
    assert not reset.done
    assert "arm_gateway_node/reset: expected the gateway's service" in reset.message


def test_it_does_not_start_where_others_reach_it_without_a_token():
    rclpy.init(args=["--ros-args", "-p", "host:=0.0.0.0", "-p", "port:=0"])
    try:
        with pytest.raises(ValueError, match="expected a token"):
            Dashboard()
    finally:
        rclpy.try_shutdown()


def test_the_joints_of_the_robot_are_shown(watched):
    _, page = watched
    assert [joint["name"] for joint in page.state()["joints"]] == list(SPEC.joint_names)
