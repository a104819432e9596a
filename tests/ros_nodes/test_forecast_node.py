"""Places of two agents, followed and foretold by a node in a process of its own."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from lifecycle_msgs.msg import Transition
from std_msgs.msg import Float32MultiArray
from visualization_msgs.msg import Marker, MarkerArray

from representation.dynamics.gcrl import GCRL, GRAPH
from ros_nodes.convert import to_time
from ros_nodes.qos import STATUS
from tests.ros_nodes.fake_robot import SPEC, FakeRobot
from tests.ros_nodes.started_node import node_process

OK, WARN, ERROR = 0, 1, 2
NODE = "forecast_node"
INPUTS, LIFE_CYCLE, MODEL = f"{NODE}: inputs", f"{NODE}: life cycle", f"{NODE}: model"
ENVIRONMENT = f"{NODE}: environment"
SAMPLES, MOST, STEP_S = 4, 5, 0.2
NAN = (math.nan, 0.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of any number of agents."""
    directory = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    GCRL(GRAPH).eval().save(directory)
    return directory


class Tracker:
    """Tells places, one message after the other, with stamps that it makes itself."""

    def __init__(self, robot: FakeRobot) -> None:
        self.robot, self.stamp = robot, 1000.0
        self.paths: list[MarkerArray] = []
        self.forecasts: list[Float32MultiArray] = []
        robot.node.create_subscription(MarkerArray, f"{NODE}/predicted_paths", self.paths.append, STATUS)
        robot.node.create_subscription(Float32MultiArray, f"{NODE}/forecast", self.forecasts.append, STATUS)
        self._places = robot.node.create_publisher(MarkerArray, "tracked_agents", STATUS)
        robot.wait_for(self._places.get_subscription_count, "the node")

    def tell(self, places: dict[int, tuple[float, float]], frame: str = SPEC.base_frame, later: float = STEP_S) -> None:
        """Publish places by id, `later` seconds after those before, and wait until the node has heard them."""
        self.stamp += later
        message = MarkerArray()
        for number, (x, y) in places.items():
            marker = Marker(ns="person", id=number, action=Marker.ADD)
            marker.header.frame_id, marker.header.stamp = frame, to_time(self.stamp)
            marker.pose.position.x, marker.pose.position.y = x, y
            message.markers.append(marker)
        self._places.publish(message)

    def walk(self, until, what: str) -> None:
        """Two agents go on until a condition holds."""

        def step() -> bool:
            self.tell({1: (0.2 * self.stamp % 10, 1.0), 2: (-1.0, 0.1 * self.stamp % 10)})
            return until()

        self.robot.wait_for(step, what)


@pytest.fixture(scope="module")
def tracker(model: Path) -> Iterator[Tracker]:
    settings = [f"model.path:={model}", f"model.samples:={SAMPLES}", f"max_agents:={MOST}", "rate_hz:=0.0"]
    settings += ["alarm.first:=2", "alarm.newest:=1", "alarm.threshold:=1000000.0", "max_age_s:=2.0"]
    with FakeRobot("/foretold") as robot, node_process(NODE, robot.namespace, *settings):
        assert robot.change_state(NODE, Transition.TRANSITION_CONFIGURE)
        assert robot.change_state(NODE, Transition.TRANSITION_ACTIVATE)
        yield Tracker(robot)


def test_all_futures_are_published_as_lines_and_as_numbers(tracker):
    tracker.paths.clear()
    tracker.forecasts.clear()
    tracker.walk(lambda: tracker.paths and tracker.forecasts, "a forecast")
    paths = tracker.paths[-1].markers
    assert [(one.ns, one.type, one.header.frame_id) for one in paths] == [
        (f"predicted_path/person/{number}", Marker.LINE_LIST, SPEC.base_frame) for number in (1, 2)
    ]
    assert {len(one.points) for one in paths} == {2 * 11 * SAMPLES}
    message = tracker.forecasts[-1]
    described = json.loads(message.layout.dim[0].label)
    assert described["agents"] == ["person/1", "person/2"]
    assert (described["frame"], described["period_s"]) == (SPEC.base_frame, 0.4)
    assert tracker.stamp - 60 < described["stamp"] <= tracker.stamp
    sizes = [dim.size for dim in message.layout.dim]
    assert sizes == [SAMPLES, 12, 2, 2]
    numbers = np.array(message.data).reshape(sizes)
    assert np.isfinite(numbers).all()
    assert np.ptp(numbers, axis=0).max() > 0


@pytest.mark.parametrize(
    ("places", "settings", "words"),
    [
        ({1: (0.0, 0.0), 2: NAN}, {}, "expected finite numbers, found others of ['person/2']"),
        ({1: (0.0, 0.0)}, {"frame": "moon"}, "found 'moon'"),
        ({number: (0.0, 0.0) for number in range(MOST + 1)}, {}, f"expected at most {MOST}, found {MOST + 1}"),
        ({1: (0.0, 0.0)}, {"later": 3.0}, "expected one up to 0.5 s after"),
        ({1: (0.0, 0.0)}, {"later": -100.0}, "expected one up to 0.5 s after"),
    ],
    ids=["nan", "frame", "many", "gap", "back"],
)
def test_it_holds_and_says_why_and_goes_on_when_mended(tracker, places, settings, words):
    tracker.walk(lambda: tracker.robot.health(INPUTS)[0] == OK, "order")
    tracker.robot.wait_for(lambda: tracker.tell(places, **settings) or words in told(tracker, INPUTS), words)
    assert tracker.robot.health(INPUTS)[0] == ERROR
    count = len(tracker.forecasts)
    tracker.walk(lambda: len(tracker.forecasts) > count, "another forecast")
    tracker.walk(lambda: tracker.robot.health(INPUTS)[0] == OK, "order")


def test_it_waits_for_places_and_for_somebody_to_be_followed(tracker):
    tracker.robot.wait_for_diagnostic(INPUTS, ERROR, "holds: tracked_agents has not come for 2 s")
    tracker.robot.wait_for(
        lambda: tracker.tell({number(tracker): (0.0, 0.0)}) or "followed for 2.8 s" in told(tracker, INPUTS), "new ones"
    )
    assert tracker.robot.health(INPUTS)[0] == WARN


def test_an_inactive_node_publishes_nothing_and_can_be_activated_again(tracker):
    robot = tracker.robot
    assert robot.change_state(NODE, Transition.TRANSITION_DEACTIVATE)
    robot.wait_for_diagnostic(LIFE_CYCLE, WARN, "inactive")
    count = len(tracker.forecasts)
    for _ in range(30):
        tracker.tell({1: (0.0, 0.0)})
    assert robot.state_of(NODE) == "inactive"
    assert len(tracker.forecasts) == count
    assert robot.change_state(NODE, Transition.TRANSITION_ACTIVATE)
    tracker.walk(lambda: len(tracker.forecasts) > count, "a forecast")
    tracker.walk(lambda: "as it was" in told(tracker, ENVIRONMENT), "an environment that is known")
    assert int(robot.health(MODEL)[2]["answered"]) > 0


def test_it_warns_where_the_environment_has_changed(model):
    settings = [f"model.path:={model}", "alarm.first:=20", "alarm.newest:=3", "alarm.threshold:=1000.0", "rate_hz:=0.0"]
    with FakeRobot("/changed") as robot, node_process(NODE, robot.namespace, *settings, "autostart:=true"):
        tracker = Tracker(robot)

        def stand() -> bool:
            tracker.tell({1: (0.0, 1.0), 2: (-1.0, 0.0)})
            return "as it was" in told(tracker, ENVIRONMENT)

        robot.wait_for(stand, "an environment that is known")
        tracker.walk(lambda: "the environment has changed" in told(tracker, ENVIRONMENT), "a warning")
        assert robot.health(ENVIRONMENT)[0] == WARN


@pytest.mark.parametrize(
    ("namespace", "path", "words"),
    [("/no_model", "", "model.path: expected"), ("/lost_model", "/nowhere", "/nowhere")],
)
def test_what_cannot_be_loaded_is_named(namespace, path, words):
    with FakeRobot(namespace) as robot, node_process(NODE, robot.namespace, f"model.path:={path!r}"):
        assert not robot.change_state(NODE, Transition.TRANSITION_CONFIGURE)
        robot.wait_for_diagnostic(LIFE_CYCLE, ERROR, "not loaded", words)


def told(tracker: Tracker, concern: str) -> str:
    health = tracker.robot.health(concern)
    return "" if health is None else health[1]


def number(tracker: Tracker) -> int:
    """Another one in each message."""
    return round(tracker.stamp / STEP_S) % 10_000
