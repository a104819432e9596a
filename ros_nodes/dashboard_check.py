"""Measure the dashboard's emergency stop on the twin: `python -m ros_nodes.dashboard_check`.

Starts the twin, the arm gateway and the dashboard as processes, moves the arm to and fro, and presses the button over
HTTP while it moves. Prints the time from just before the request to the gateway's hold (the stop that it sends to the
controller), and to the arm at rest, which takes the braking as well.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import tyro
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from policies.execution.joint_states import JointStates
from policies.execution.trajectory import JointTrajectory
from policies.robots import get_drivers, get_robot
from ros_nodes.convert import message_from_trajectory, seconds
from ros_nodes.graph_client import GraphClient, GraphError
from ros_nodes.graphs import REAL_ARM, TWIN
from ros_nodes.qos import COMMAND, STATUS
from ros_nodes.started_graph import measured, started_graph

LIMIT_MS = 150.0
START_LIMIT_S = 180.0
STEP_LIMIT_S = 60.0
PLAN_PERIOD_S = 0.1
KNOTS = 20
SWING_RAD, SWING_PERIOD_S = 0.3, 6.0
MOVING, AT_REST = 0.1, 0.005  # rad/s
DEPTH = 1000


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What is measured.

    Attributes:
        presses: how often the button is pressed.
        robot: name of the robot, or its YAML file.
        camera_rate_hz: pictures per second of each camera, which the dashboard shows meanwhile.
        json: print JSON instead of text.
    """

    presses: int = 20
    robot: str = "panda"
    camera_rate_hz: float = 5.0
    json: bool = False


@dataclass(frozen=True, slots=True)
class Press:
    """One press of the button; milliseconds from just before the request.

    Attributes:
        answer_ms: to the answer of the server.
        hold_ms: to the sending of the gateway's stop.
        rest_ms: to the stamp of the first joint state at rest.
        speed_rad_s: speed of the moving joint at the press.
    """

    answer_ms: float
    hold_ms: float
    rest_ms: float
    speed_rad_s: float


class Presser(GraphClient):
    """Moves the first joint to and fro in the place of a policy, and presses the dashboard's buttons."""

    def __init__(self, robot: str, port: int, stop_requested: Callable[[], bool]) -> None:
        super().__init__("dashboard_check", stop_requested)
        self._spec, self._drivers = get_robot(robot), get_drivers(robot)
        self._joint_states = JointStates(self._drivers)
        self._server = f"127.0.0.1:{port}"
        self._token = ""
        self._gateway_state = ""
        self._motion: tuple[float, np.ndarray] | None = None
        self._planned: set[float] = set()
        self._stops: list[float] = []
        self._joints: list[tuple[float, np.ndarray, np.ndarray]] = []
        self._out = self.create_publisher(JointTrajectoryMessage, "planned_trajectory", COMMAND)
        self._kept = [
            self.create_subscription(JointTrajectoryMessage, self._drivers.controllers[0].topic, self._on_stop, DEPTH),
            self.create_subscription(JointState, self._drivers.joint_states, self._on_joints, DEPTH),
            self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, STATUS),
            self.create_timer(PLAN_PERIOD_S, self._plan, clock=Clock(clock_type=ClockType.STEADY_TIME)),
        ]

    def prepare(self) -> None:
        """Wait until the page is there, and the gateway ready."""
        self.wait_until(self._page_there, START_LIMIT_S, f"the status page on {self._server}")
        self.wait_until(lambda: self._gateway_state == "HOLDING", START_LIMIT_S, "a gateway that is ready")
        # It may have heard the joints before this node does.
        self.wait_until(lambda: bool(self._joints), START_LIMIT_S, "joint states")

    def press_in_motion(self) -> Press:
        """Let the arm move, stop it by the button, and make it ready again."""
        self._motion = (time.time(), self._joints[-1][1])
        self.wait_until(lambda: self._speed() > MOVING, STEP_LIMIT_S, "motion")
        self._stops.clear()
        speed, pressed_at = self._speed(), time.time()
        self.push("estop")
        answered_at = time.time()
        self._motion = None
        self.wait_until(lambda: any(stop > pressed_at for stop in self._stops), STEP_LIMIT_S, "a stop of the gateway")
        held_at = min(stop for stop in self._stops if stop > pressed_at)
        self.wait_until(lambda: bool(self._rests_after(held_at)), STEP_LIMIT_S, "rest")
        self.wait_until(lambda: self._gateway_state == "ESTOPPED", STEP_LIMIT_S, "a gateway that stays stopped")
        times = (answered_at, held_at, self._rests_after(held_at)[0])
        self.push("release")
        self.push("reset")
        self.wait_until(lambda: self._gateway_state == "HOLDING", STEP_LIMIT_S, "a gateway that is ready again")
        answer_ms, hold_ms, rest_ms = (round(1e3 * (at - pressed_at), 2) for at in times)
        return Press(answer_ms, hold_ms, rest_ms, round(speed, 3))

    def push(self, button: str) -> None:
        """Press a button of the page.

        Raises:
            GraphError: it did not do what it says.
        """
        status, body = self._request("POST", f"/{button}", {"Authorization": f"Bearer {self._token}"})
        if status != http.HTTPStatus.OK or not json.loads(body)["done"]:
            raise GraphError(f"{button}: expected it to be done, found {status}: {body.decode()}")

    def _request(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._server, timeout=STEP_LIMIT_S)
        try:
            connection.request(method, path, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _page_there(self) -> bool:
        try:
            _, page = self._request("GET", "/", {})
        except OSError:
            return False
        found = re.search(r'name="token" content="([^"]+)"', page.decode())
        self._token = found[1] if found else ""
        return bool(self._token)

    def _plan(self) -> None:
        if self._motion is None:
            return
        began, start = self._motion
        now, pace = time.time(), 2 * np.pi / SWING_PERIOD_S
        times = PLAN_PERIOD_S * np.arange(1, KNOTS + 1)
        phase = pace * (now - began + times)
        positions, velocities = np.tile(start, (KNOTS, 1)), np.zeros((KNOTS, len(start)))
        positions[:, 0] += SWING_RAD * (1 - np.cos(phase)) / 2
        velocities[:-1, 0] = SWING_RAD * pace * np.sin(phase[:-1]) / 2
        message = message_from_trajectory(JointTrajectory(now, times, positions, velocities), self._spec.joint_names)
        self._planned.add(seconds(message.header.stamp))
        self._out.publish(message)

    def _speed(self) -> float:
        return float(abs(self._joints[-1][2][0]))

    def _rests_after(self, at: float) -> list[float]:
        return [stamp for stamp, _, speeds in self._joints if stamp > at and np.abs(speeds).max() < AT_REST]

    def _on_stop(self, message: JointTrajectoryMessage, info: Mapping[str, int]) -> None:
        # What follows a plan has the plan's stamp.
        if seconds(message.header.stamp) not in self._planned:
            self._stops.append(info["source_timestamp"] * 1e-9)

    def _on_joints(self, message: JointState) -> None:
        if (measured := self._joint_states.add(message)) is not None:
            self._joints.append((measured.time, measured.positions, measured.velocities))
        del self._joints[:-DEPTH]

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == "arm_gateway_node: gateway":
                self._gateway_state = {entry.key: entry.value for entry in status.values}["state"]


def measure(options: CheckOptions) -> list[Press]:
    """Start the graph, press, and stop it.

    Raises:
        GraphError: a node failed, a button did nothing, or a limit passed.
    """
    port = _free_port()
    twin = TWIN.resolve({"robot": options.robot})
    arm = REAL_ARM.resolve({"robot": options.robot, "policy": "noop", "shadow": "false", "dashboard_port": str(port)})
    nodes = [(TWIN, twin, node) for node in TWIN.nodes]
    nodes += [(REAL_ARM, arm, node) for node in REAL_ARM.nodes if node.executable != "policy_node"]
    commands = []
    for graph, values, node in nodes:
        words = node.command(values, graph.arguments)
        if node.executable == "simulator_node":
            words += ["-p", f"camera_rate_hz:={options.camera_rate_hz:.6f}"]
        commands.append((node.executable, words))
    with started_graph(commands) as node_ended:
        presser = Presser(options.robot, port, node_ended)
        try:
            presser.prepare()
            return [presser.press_in_motion() for _ in range(options.presses)]
        finally:
            presser.end()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def format_report(options: CheckOptions, presses: Sequence[Press]) -> str:
    """Render the figures for people."""
    lines = [
        f"{len(presses)} presses while the arm moved, {options.robot}, cameras at {options.camera_rate_hz:g} Hz",
        f"{'milliseconds':<18}{'p50':>9}{'p95':>9}{'largest':>9}",
    ]
    for name in ("answer", "hold", "rest"):
        values = [getattr(press, f"{name}_ms") for press in presses]
        p50, p95, largest = np.percentile(values, (50, 95, 100))
        lines.append(f"{'press to ' + name:<18}{p50:>9.1f}{p95:>9.1f}{largest:>9.1f}")
    held = sum(press.hold_ms <= LIMIT_MS for press in presses)
    return "\n".join([*lines, f"held within {LIMIT_MS:g} ms: {held} of {len(presses)}"])


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = tyro.cli(CheckOptions, args=args, prog="python -m ros_nodes.dashboard_check", description=__doc__)
    presses = measured(measure, options)
    if presses is None:
        return 1
    found = {"options": asdict(options), "presses": [asdict(press) for press in presses]}
    print(json.dumps(found, indent=2) if options.json else format_report(options, presses))
    return 0


if __name__ == "__main__":
    sys.exit(main())
