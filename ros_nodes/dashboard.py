"""`dashboard`: a status page in a browser, with an emergency stop: `python -m ros_nodes.dashboard`.

Shows cameras, planned against executed motion, nodes and diagnostics. Its buttons publish on `estop`, which the arm
gateway obeys, and call the gateway's reset. Listens to its own machine alone unless `host` says otherwise, and then
needs a token. Nothing that moves the arm depends on this node.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import GetState
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.task import Future
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from policies.execution.joint_states import JointStates
from policies.robots import get_drivers, get_robot
from ros_nodes.convert import trajectory_from_message
from ros_nodes.node_process import run_node
from ros_nodes.params import declare
from ros_nodes.qos import ANYBODY, COMMAND, LATCHED, STATUS, joint_state_in, sensor
from ros_nodes.status_page.access import Access
from ros_nodes.status_page.status_board import Status, StatusBoard
from ros_nodes.status_page.status_server import Content, Pressed, StatusServer
from sim.scene import scene_cameras

LOOK_PERIOD_S = 1.0
LIFE_CYCLE_NODE = "policy_node"
GATEWAY = "arm_gateway_node"


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What is shown, and to whom.

    Attributes:
        robot: name of the robot, or its YAML file.
        cameras: names of the cameras that are shown; empty for those that a simulated robot has.
        camera_hz: pictures per second of each camera, at most.
        host: name or address to listen on. Every other one than a loopback address needs a token.
        port: port to listen on; 0 takes a free one.
        token_file: file whose first line people must know; make it readable to its owner only. Empty for none.
        service_limit_s: longest wait for the gateway's answer to a reset.
    """

    robot: str = "panda"
    cameras: tuple[str, ...] = ()
    camera_hz: float = field(default=5.0, metadata={"range": (0.1, 30.0)})
    host: str = "127.0.0.1"
    port: int = field(default=8080, metadata={"range": (0, 65535)})
    token_file: str = ""
    service_limit_s: float = field(default=5.0, metadata={"range": (0.1, 60.0)})


class Dashboard(Node):
    """Wiring between topics, a `StatusBoard` and a `StatusServer`."""

    def __init__(self) -> None:
        super().__init__("dashboard")
        self._config = declare(self, NodeConfig)
        access = Access.of(self._config.host, self._config.token_file)
        self._spec, self._drivers = get_robot(self._config.robot), get_drivers(self._config.robot)
        self._joint_states = JointStates(self._drivers)
        cameras = self._config.cameras or scene_cameras(self._spec).names
        self.board = StatusBoard(self._spec, self.get_namespace(), cameras)
        self._picture_due = dict.fromkeys(cameras, 0.0)
        self._estop = self.create_publisher(Bool, "estop", LATCHED)
        # Best effort: the page must not make anybody wait, and it hears reliable publishers as well.
        images, joints = sensor("realtime"), joint_state_in("realtime")
        self._subscriptions_made = [
            self.create_subscription(JointState, self._drivers.joint_states, self._on_joints, joints),
            self.create_subscription(JointTrajectoryMessage, "planned_trajectory", self._on_plan, COMMAND),
            self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, STATUS),
            self.create_subscription(String, "instruction", self._on_instruction, LATCHED),
            *(self.create_subscription(Bool, "estop", self._on_estop, heard) for heard in (LATCHED, ANYBODY)),
            *(
                # Raw: most pictures are passed over, and making a message of them would be work for nothing.
                self.create_subscription(
                    Image, self._drivers.camera(name).color, partial(self._on_picture, name), images, raw=True
                )
                for name in cameras
            ),
        ]
        self._reset = self.create_client(Trigger, f"{GATEWAY}/reset")
        self._get_state = self.create_client(GetState, f"{LIFE_CYCLE_NODE}/get_state")
        self._asked: Future | None = None
        self._timer = self.create_timer(LOOK_PERIOD_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        buttons = {"estop": self._press, "release": self._release, "reset": self._reset_gateway}
        content = Content(lambda: self.board.as_json(time.monotonic()), self.board.pictures.jpeg, buttons)
        self._server = StatusServer(self._config.host, self._config.port, access, content)
        self.get_logger().info(f"status page on {self._server.url}")

    def stop(self) -> None:
        """Stop listening."""
        self._server.close()

    def _press(self) -> Pressed:
        self._estop.publish(Bool(data=True))
        self.get_logger().warning("emergency stop pressed on the page")
        if not self._gateway_listens():
            return Pressed(False, f"no gateway hears {self._estop.topic_name}: this page does not stop the arm")
        return Pressed(True, "emergency stop sent to the gateway")

    def _release(self) -> Pressed:
        self._estop.publish(Bool(data=False))
        self.get_logger().info("emergency stop released on the page")
        return Pressed(True, "emergency stop released; the arm is held until the gateway is reset")

    def _reset_gateway(self) -> Pressed:
        if not self._reset.service_is_ready():
            return Pressed(False, f"{self._reset.srv_name}: expected the gateway's service, found none")
        answered = threading.Event()
        future = self._reset.call_async(Trigger.Request())
        future.add_done_callback(lambda _: answered.set())
        if not answered.wait(self._config.service_limit_s):
            self._reset.remove_pending_request(future)
            return Pressed(False, f"{self._reset.srv_name}: no answer within {self._config.service_limit_s:g} s")
        response = future.result()
        self.get_logger().info(f"gateway reset from the page: {response.message}")
        return Pressed(response.success, response.message)

    def _gateway_listens(self) -> bool:
        found = self.get_subscriptions_info_by_topic(self._estop.topic_name)
        return any((entry.node_namespace, entry.node_name) == (self.get_namespace(), GATEWAY) for entry in found)

    def _on_joints(self, message: JointState) -> None:
        def take(now: float) -> None:
            if (measured := self._joint_states.add(message)) is not None:
                self.board.add_joints(measured.time, measured.positions, measured.velocities, now)

        self._take("joints", take)

    def _on_plan(self, message: JointTrajectoryMessage) -> None:
        names = self._spec.joint_names
        self._take("plan", lambda now: self.board.add_plan(trajectory_from_message(message, names), now))

    def _take(self, source: str, take: Callable[[float], None]) -> None:
        now = time.monotonic()
        try:
            take(now)
        except ValueError as error:
            self.board.refuse(source, str(error), now)

    def _on_picture(self, camera: str, data: bytes) -> None:
        now = time.monotonic()
        if now < self._picture_due[camera]:
            return
        self._picture_due[camera] = now + 1.0 / self._config.camera_hz
        self.board.pictures.add(camera, deserialize_message(data, Image), now)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        now = time.monotonic()
        for status in message.status:
            values = {entry.key: entry.value for entry in status.values}
            level = int.from_bytes(status.level, "little")
            self.board.add_status(Status(status.name, status.hardware_id, level, status.message, values), now)

    def _on_instruction(self, message: String) -> None:
        self.board.add_instruction(message.data)

    def _on_estop(self, message: Bool) -> None:
        self.board.add_estop(message.data)

    def _look(self) -> None:
        own = self.get_namespace()
        found = self.get_node_names_and_namespaces()
        self.board.see_nodes(f"{place.rstrip('/')}/{name}" for name, place in found if place == own)
        sources = (entry.node_name for entry in self.get_publishers_info_by_topic(self._estop.topic_name))
        self.board.see_estop(self._gateway_listens(), sorted({*sources} - {self.get_name()}))
        self._ask_life_cycle()

    def _ask_life_cycle(self) -> None:
        node = f"{self.get_namespace().rstrip('/')}/{LIFE_CYCLE_NODE}"
        if self._asked is not None and not self._asked.done():
            self._get_state.remove_pending_request(self._asked)
            self.board.add_life_cycle(node, "")
        self._asked = None
        if self._get_state.service_is_ready():
            self._asked = self._get_state.call_async(GetState.Request())
            self._asked.add_done_callback(partial(self._on_life_cycle, node))

    def _on_life_cycle(self, node: str, future: Future) -> None:
        answer: Any = future.result()
        if answer is not None:
            self.board.add_life_cycle(node, answer.current_state.label)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node(Dashboard, args)


if __name__ == "__main__":
    sys.exit(main())
