from __future__ import annotations

from collections.abc import Iterator

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.node import Node

from ros_nodes.diagnostics import Diagnostics, Health, Latencies, Level, Rate, figures_by_name, figures_message


@pytest.fixture
def node() -> Iterator[Node]:
    context = Context()
    rclpy.init(context=context)
    node = rclpy.create_node("patient", context=context, namespace="/ward")
    yield node
    node.destroy_node()
    context.try_shutdown()


@pytest.fixture
def published(monkeypatch) -> list[DiagnosticArray]:
    messages = []

    class Publisher:
        def publish(self, message: DiagnosticArray) -> None:
            messages.append(message)

    monkeypatch.setattr(Node, "create_publisher", lambda *_, **__: Publisher())
    return messages


def test_a_status_has_name_level_message_and_values(node, published):
    health = Health(Level.WARN, "a little pale", lambda: {"pulse_hz": 1.5})
    Diagnostics(node, "panda", {"skin": lambda: health}).publish()
    status = published[0].status[0]
    assert (status.name, status.hardware_id, status.level) == ("ward/patient: skin", "panda", b"\x01")
    assert status.message == "a little pale"
    assert [(value.key, value.value) for value in status.values] == [("pulse_hz", "1.5")]


def test_changes_of_level_or_message_are_published_at_once_and_others_are_not(node, published):
    healths = [Health(Level.OK, "well", lambda: {"n": 1})]
    diagnostics = Diagnostics(node, "panda", {"skin": lambda: healths[-1]})
    diagnostics.publish_changes()
    healths.append(Health(Level.OK, "well", lambda: {"n": 2}))
    diagnostics.publish_changes()
    assert len(published) == 1
    healths.append(Health(Level.OK, "very well"))
    diagnostics.publish_changes()
    healths.append(Health(Level.ERROR, "very well"))
    diagnostics.publish_changes()
    assert len(published) == 3


def test_latencies_are_percentiles_of_the_newest():
    latencies = Latencies(length=100)
    assert latencies.values("x") == {}
    for value in (50.0, *(0.001 * i for i in range(1, 101))):
        latencies.add(value)
    values = latencies.values("x")
    assert list(values) == ["x p50_ms", "x p95_ms", "x p99_ms"]
    assert float(values["x p50_ms"]) == pytest.approx(50.5)
    assert float(values["x p99_ms"]) < 101


def test_a_rate_is_of_the_last_second_and_falls_to_zero_when_nothing_comes():
    rate = Rate(10.0)
    assert rate.hz(0, 10.0) == 0.0
    assert rate.hz(20, 11.0) == pytest.approx(20.0)
    assert rate.hz(25, 11.5) == pytest.approx(25 / 1.5), "at least a second"
    assert rate.hz(50, 12.0) == pytest.approx(30.0)
    assert rate.hz(50, 13.0) == 0.0


def test_figures_survive_the_trip_exactly():
    figures = {"inference_s": 0.1 + 0.2, "waiting_s": 1e-17}
    message = figures_message(1.5, "policy", figures)
    assert figures_by_name(message) == figures
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1, 500_000_000)
