"""An arm beside people: gateway, and the node that slows it, in processes of their own."""

from __future__ import annotations

import math
import signal
import subprocess
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from std_msgs.msg import Float32MultiArray, Float64
from visualization_msgs.msg import MarkerArray

from policies.execution.separation import Futures
from representation.dynamics.gcrl.playback import Agent
from ros_nodes.forecast_messages import message_from_futures
from ros_nodes.path_markers import agent_markers
from ros_nodes.qos import LATCHED, STATUS
from tests.ros_nodes.fake_robot import SPEC, FakeRobot, gateway_process
from tests.ros_nodes.started_node import node_process

OK, WARN, ERROR = 0, 1, 2
NODE, GATEWAY = "separation_node: separation", "arm_gateway_node: gateway"
FAR, ASIDE, NEAR = (9.0, 0.0), (0.0, 2.0), (0.6, 0.3)


class Hall:
    """A robot that is led all the time, and a person in a place."""

    def __init__(self, robot: FakeRobot, process: subprocess.Popen) -> None:
        self.robot, self.process = robot, process
        self.person: tuple[float, float] | None = FAR
        self.frame = SPEC.base_frame
        self.foretold = False
        self.stuck_at: float | None = None
        self.scales: list[float] = []
        robot.node.create_subscription(Float64, "speed_scale", lambda heard: self.scales.append(heard.data), LATCHED)
        self._places = robot.node.create_publisher(MarkerArray, "tracked_agents", STATUS)
        self._forecast = robot.node.create_publisher(Float32MultiArray, "forecast_node/forecast", STATUS)

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Tell the place and lead the arm until a condition holds."""

        def step() -> object:
            now = self.stuck_at or self.robot.time()
            if self.person is not None:
                person = Agent("person", 1, self.person)
                self._places.publish(agent_markers([person], self.frame, now))
                if self.foretold:
                    stays = np.tile(np.array(self.person, np.float32), (5, 12, 1, 1))
                    futures = Futures(now, 0.4, ("person/1",), stays)
                    self._forecast.publish(message_from_futures(futures, SPEC.base_frame))
            self.robot.plan(self.robot.ramp())
            return condition()

        self.robot.wait_for(step, what)

    def told(self, level: int, words: str) -> Callable[[], bool]:
        """Whether the node tells a level with some words."""

        def found() -> bool:
            health = self.robot.health(NODE)
            return health is not None and health[0] == level and words in health[1]

        return found

    def moves(self) -> bool:
        return not self.robot.rests()


@pytest.fixture(scope="module")
def hall() -> Iterator[Hall]:
    with FakeRobot("/beside") as robot, gateway_process(robot, "speed_scale_max_age_s:=2.0"):
        robot.wait_until_heard()
        with node_process("separation_node", robot.namespace, "max_age_s:=2.0") as process:
            yield Hall(robot, process)


def test_it_goes_holds_beside_somebody_and_goes_on(hall):
    hall.until(hall.told(OK, "full speed"), "full speed")
    hall.until(hall.moves, "motion")
    hall.person = NEAR
    hall.until(hall.told(WARN, "holds for person/1"), "somebody near")
    hall.until(lambda: hall.scales[-1] == 0.0 and hall.robot.rests(), "rest")
    hall.person = FAR
    hall.until(hall.moves, "motion")


def test_a_forecast_lets_it_go_faster_beside_who_stays_away(hall):
    hall.person, hall.foretold = ASIDE, False
    hall.until(hall.told(WARN, "slows for person/1"), "somebody who might come")
    hall.foretold = True
    hall.until(hall.told(OK, "full speed"), "somebody who stays")
    hall.person, hall.foretold = FAR, False


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"person": None}, "no tracked_agents within 2 s"),
        ({"stuck_at": 1000.0}, "no tracked_agents within 2 s"),
        ({"person": (math.nan, 0.0)}, "expected finite places"),
        ({"frame": "moon"}, "found 'moon'"),
    ],
    ids=["silent", "stuck", "nan", "frame"],
)
def test_it_holds_where_nobody_knows_who_is_there(hall, change, words):
    usual = {name: getattr(hall, name) for name in change}
    hall.until(hall.moves, "motion")
    for name, value in change.items():
        setattr(hall, name, value)
    hall.until(hall.told(ERROR, words), words)
    hall.until(hall.robot.rests, "rest")
    for name, value in usual.items():
        setattr(hall, name, value)
    hall.until(hall.moves, "motion")


def test_the_gateway_holds_where_the_node_falls_silent(hall):
    hall.until(hall.moves, "motion")
    hall.process.send_signal(signal.SIGSTOP)
    try:
        silent = "speed_scale has not come for 2 s"
        hall.until(lambda: silent in hall.robot.health(GATEWAY)[1] and hall.robot.rests(), silent)
    finally:
        hall.process.send_signal(signal.SIGCONT)
    hall.until(hall.moves, "motion")
