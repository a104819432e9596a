"""A tool that swings in the simulated gripper, read over joint states by a node in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from sensor_msgs.msg import JointState

from representation.dynamics.hamiltonian_meta import HamiltonianConfig, HamiltonianNet
from ros_nodes.convert import joint_state_from_arrays, seconds
from ros_nodes.diagnostics import figures_by_name
from ros_nodes.qos import JOINT_STATE_OUT, STATUS
from sim.held_tools import READ_S, HeldTool
from tests.ros_nodes.fake_robot import FakeRobot
from tests.ros_nodes.started_node import node_process

OK, WARN, ERROR = 0, 1, 2
NODE, JOINT = "tool_watch_node", "swing"
INPUTS, LIFE_CYCLE, MODEL, TOOL = (f"{NODE}: {concern}" for concern in ("inputs", "life cycle", "model", "tool"))
WATCHED_S, EVENT_S = 5.5, 4.0
NOISE = (1e-3, 5e-3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has learned nothing yet; the node fits it."""
    directory = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    HamiltonianNet(HamiltonianConfig(coordinates=1, hidden=32)).save(directory)
    return directory


@pytest.fixture(scope="module")
def swings() -> dict[str, np.ndarray]:
    """Readings (T, 2) of the same tool, in whose way something stands at last, or not."""
    found = {}
    for event in ("nothing", "collision"):
        rng = np.random.default_rng(3)
        tool = HeldTool(rng)
        tool.wiggle(rng)
        readings = tool.read(WATCHED_S, event, EVENT_S, rng)
        found[event] = readings + rng.normal(0, NOISE, readings.shape)
    return found


class Gripper:
    """Tells the joint of a tool, one reading after the other, with stamps that it makes itself."""

    def __init__(self, robot: FakeRobot) -> None:
        self.robot, self.stamp = robot, 1000.0
        self.told: dict[float, dict[str, float]] = {}
        robot.node.create_subscription(DiagnosticArray, f"{NODE}/energy_drift", self._on_drift, STATUS)
        self._joints = robot.node.create_publisher(JointState, "joint_states", JOINT_STATE_OUT)
        robot.wait_for(self._joints.get_subscription_count, "the node")

    def tell(self, reading: np.ndarray, later: float = READ_S) -> None:
        """Publish a reading, `later` seconds after the one before."""
        self.stamp = round(self.stamp + later, 6)
        self._joints.publish(joint_state_from_arrays(reading[:1], reading[1:], [JOINT], self.stamp))

    def swing(self, readings: np.ndarray) -> list[dict[str, float]]:
        """Tell readings, and wait for what the node says of each."""
        answers = []
        for reading in readings:
            self.tell(reading)
            self.robot.wait_for(lambda: self.stamp in self.told, f"an answer to {self.stamp}")
            answers.append(self.told[self.stamp])
        return answers

    def learned(self, readings: int) -> bool:
        """Whether a model was fitted to some of so many readings, and taken."""
        health = self.robot.health(TOOL)
        return health is not None and health[1] == "swings freely" and health[2]["readings"] == str(readings)

    def _on_drift(self, message: DiagnosticArray) -> None:
        self.told[round(seconds(message.header.stamp), 6)] = figures_by_name(message)


@pytest.fixture(scope="module")
def gripper(model: Path) -> Iterator[Gripper]:
    settings = [f"model.path:={model}", f"joint:={JOINT}", "rate_hz:=0.0", "model.lr:=0.01", "max_age_s:=2.0"]
    settings += ["watch.trusted_s:=100.0"]
    with FakeRobot("/held") as robot, node_process(NODE, robot.namespace, *settings):
        assert robot.change_state(NODE, Transition.TRANSITION_CONFIGURE)
        assert robot.change_state(NODE, Transition.TRANSITION_ACTIVATE)
        yield Gripper(robot)


def activate_again(gripper: Gripper) -> None:
    assert gripper.robot.change_state(NODE, Transition.TRANSITION_DEACTIVATE)
    assert gripper.robot.change_state(NODE, Transition.TRANSITION_ACTIVATE)


@pytest.mark.parametrize("event", ["nothing", "collision"])
def test_a_collision_is_heard_and_free_swinging_is_not(gripper, swings, event):
    activate_again(gripper)
    readings, calm = swings[event], round(3.2 / READ_S)
    before = gripper.swing(readings[:calm])
    assert not any(answer["alarm"] for answer in before)
    assert not before[0]["learned"]
    gripper.robot.wait_for(lambda: gripper.learned(calm), "a model")
    after = gripper.swing(readings[calm:])
    assert all(answer["learned"] for answer in after)
    assert {answer["limit"] for answer in after} == {5.0}
    sounded = [answer["alarm"] for answer in after]
    if event == "nothing":
        assert not any(sounded)
        assert max(answer["sigmas"] for answer in after) > 0
        gripper.robot.wait_for(lambda: gripper.learned(len(readings)), "a tool that swings freely")
        return
    at = calm * READ_S + sounded.index(1.0) * READ_S
    assert EVENT_S < at < WATCHED_S
    assert sounded == sorted(sounded)  # it stays
    assert after[-1]["sigmas"] > 5.0
    gripper.robot.wait_for_diagnostic(TOOL, WARN, "was hit, or slipped", "activate the node again")
    assert int(gripper.robot.health(MODEL)[2]["fitted"]) >= 1


def test_other_joints_are_passed_over_and_what_is_wrong_is_named(gripper, swings):
    activate_again(gripper)
    gripper.swing(swings["nothing"][:3])
    gripper.robot.wait_for_diagnostic(INPUTS, OK, "readings come")
    gripper.tell(np.array([np.nan, 0.0]))
    gripper.robot.wait_for_diagnostic(INPUTS, ERROR, "reading: expected finite numbers")
    gripper.tell(swings["nothing"][0], later=7.0)
    gripper.robot.wait_for_diagnostic(INPUTS, ERROR, "stamp: expected one up to 0.1 s after the last")
    gripper.robot.wait_for_diagnostic(INPUTS, ERROR, "joint 'swing' has not come for 2 s")  # the arm's joints do
    assert len(gripper.swing(swings["nothing"][:3])) == 3


def test_a_tool_that_hangs_still_is_told(gripper):
    activate_again(gripper)
    still = np.random.default_rng(0).normal(0, NOISE, (310, 2))
    assert not any(answer["learned"] for answer in gripper.swing(still))
    gripper.robot.wait_for_diagnostic(TOOL, WARN, "hangs still")


@pytest.mark.parametrize(
    ("namespace", "joint", "path", "words"),
    [("/no_joint", "", "x", "joint: expected"), ("/lost_model", "swing", "/nowhere", "/nowhere")],
)
def test_what_cannot_be_loaded_is_named(namespace, joint, path, words):
    settings = [f"model.path:={path!r}", f"joint:={joint!r}"]
    with FakeRobot(namespace) as robot, node_process(NODE, robot.namespace, *settings):
        assert not robot.change_state(NODE, Transition.TRANSITION_CONFIGURE)
        robot.wait_for_diagnostic(LIFE_CYCLE, ERROR, "not loaded", words)
