from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import rclpy
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from policies.execution.trajectory import JointTrajectory
from policies.robots import get_drivers
from ros_nodes.controllers import executed_message
from ros_nodes.executed_listener import ExecutedListener
from ros_nodes.graph_client import GraphClient
from ros_nodes.qos import STATUS

DRIVERS = get_drivers("panda")
PATIENCE_S = 20.0
STEP_S = 0.002


@pytest.fixture
def node() -> Iterator[GraphClient]:
    rclpy.init()
    made = GraphClient("listener", lambda: False)
    try:
        yield made
    finally:
        made.end()
        rclpy.try_shutdown()


def part(first: float, count: int, position: float) -> JointTrajectory:
    """`count` samples from the time `first` on."""
    times = STEP_S * np.arange(1, count + 1)
    return JointTrajectory(first - STEP_S, times, np.full((count, 8), position), np.zeros((count, 8)))


def test_parts_are_joined_in_the_order_of_their_times_and_cut(node):
    listener = ExecutedListener(node, DRIVERS)
    assert listener.heard_until == -np.inf
    assert len(listener.between(0.0, 100.0)[0].times) == 0
    publisher = node.create_publisher(JointTrajectoryMessage, "simulator_node/executed", STATUS)
    node.wait_until(publisher.get_subscription_count, PATIENCE_S, "a subscriber")
    for told in (part(10.0, 50, 0.1), part(10.2, 50, 0.3), part(10.1, 50, 0.2)):
        publisher.publish(executed_message(told, DRIVERS))
        node.wait_until(lambda told=told: listener.heard_until >= told.end - 1e-6, PATIENCE_S, "a part")
    node.wait_until(lambda: len(listener.between(0.0, 100.0)[1]) == 3, PATIENCE_S, "three parts")
    assert listener.heard_until == pytest.approx(10.298)
    trace, taken = listener.between(10.049, 10.251)
    np.testing.assert_allclose(trace.times, np.arange(10.05, 10.2505, STEP_S), atol=1e-6)
    np.testing.assert_allclose(trace.positions[:, 0], np.repeat([0.1, 0.2, 0.3], [25, 50, 26]), atol=1e-12)
    np.testing.assert_allclose(taken, [10.1, 10.2], atol=1e-6)
