"""Parameters of a running simulator disturb its topics, and not the truth; across processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import rclpy
from sensor_msgs.msg import JointState

from ros_nodes.convert import seconds
from ros_nodes.graph_client import GraphClient, GraphError
from ros_nodes.qos import joint_state_in
from tests.ros_nodes.started_node import node_process

PATIENCE_S = 60.0
NODE = "twin/simulator_node"


class Listener(GraphClient):
    """Counts what comes, and asks."""

    def __init__(self) -> None:
        super().__init__("listener", lambda: False)
        self.sensed: list[float] = []
        self.true: list[float] = []
        for topic, stamps in (("twin/joint_states", self.sensed), (f"{NODE}/joint_states", self.true)):
            self.create_subscription(
                JointState,
                topic,
                lambda message, stamps=stamps: stamps.append(seconds(message.header.stamp)),
                joint_state_in("realtime"),
            )

    def disturb(self, **imperfections) -> None:
        values = {f"imperfections.{name}": value for name, value in imperfections.items()}
        self.set_parameters_of(NODE, values, PATIENCE_S)

    def wait_for(self, stamps: list[float], count: int) -> None:
        self.wait_until(lambda: len(stamps) >= count, PATIENCE_S, f"{count} joint states")


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    rclpy.init()
    simulator = ("mode:=realtime", "autostart:=true", "joint_rate_hz:=20.0", "episode.cameras:=['wrist']")
    size = ("simulation.width:=32", "simulation.height:=32", "camera_rate_hz:=2.0")
    try:
        with node_process("simulator_node", "/twin", *simulator, *size):
            node = Listener()
            try:
                yield node
            finally:
                node.end()
    finally:
        rclpy.try_shutdown()


def test_joint_states_stop_and_come_again_and_the_truth_goes_on(listener):
    listener.wait_for(listener.sensed, 5)
    listener.disturb(joints_stopped=True)
    listener.wait_for(listener.true, len(listener.true) + 5)
    before = len(listener.sensed)
    listener.wait_for(listener.true, len(listener.true) + 20)
    assert len(listener.sensed) == before
    listener.disturb(joints_stopped=False)
    listener.wait_for(listener.sensed, before + 5)


def test_stamps_of_joint_states_jump(listener):
    listener.disturb(joint_stamp_offset_s=-30.0)
    listener.wait_until(
        lambda: listener.sensed[-1] < listener.true[-1] - 25.0, PATIENCE_S, "stamps of half a minute ago"
    )
    listener.disturb(joint_stamp_offset_s=0.0)
    listener.wait_until(lambda: listener.sensed[-1] > listener.true[-1] - 5.0, PATIENCE_S, "stamps of now")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("image_loss", 1.5, ["imperfections.image_loss", "1.0", "1.5"]),
        ("late_camera", "side", ["imperfections", "late_camera", "front", "'side'"]),
    ],
)
def test_an_imperfection_that_cannot_be_is_refused(listener, name, value, words):
    with pytest.raises(GraphError) as refusal:
        listener.disturb(**{name: value})
    for word in words:
        assert word in str(refusal.value)
    assert listener.parameters_of(NODE, [f"imperfections.{name}"], PATIENCE_S)[f"imperfections.{name}"] in (0.0, "")
