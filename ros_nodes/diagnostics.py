"""What a node says about itself on `/diagnostics`: once a second, and at once when a level or message changes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from numpy.typing import ArrayLike
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from ros_nodes.convert import to_time
from ros_nodes.qos import STATUS

PERIOD_S = 1.0


class Level(IntEnum):
    """Levels of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True, slots=True)
class Health:
    """State of one concern.

    Attributes:
        level: how bad it is.
        message: one sentence that a person can act on.
        values: tells figures by name, with units in the name; asked for only when they are published.
    """

    level: Level
    message: str
    values: Callable[[], Mapping[str, object]] = dict


class Diagnostics:
    """Publishes the health of a node's concerns.

    Args:
        node: whose health it is.
        robot: robot name, the hardware id of the statuses.
        concerns: by name, a function that tells the present health.
    """

    def __init__(self, node: Node, robot: str, concerns: Mapping[str, Callable[[], Health]]) -> None:
        self._node = node
        self._robot = robot
        self._concerns = concerns
        self._told: dict[str, tuple[Level, str]] = {}
        # Absolute: tools listen there whatever the node's namespace is.
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", STATUS)
        # Steady: a paused /clock must not silence the node.
        self._timer = node.create_timer(PERIOD_S, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def publish(self) -> None:
        """Publish every concern now."""
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        for concern, tell in self._concerns.items():
            health = tell()
            self._told[concern] = (health.level, health.message)
            message.status.append(self._status(concern, health))
        self._publisher.publish(message)

    def publish_changes(self) -> None:
        """Publish if any level or message differs from what was told last."""
        healths = {concern: tell() for concern, tell in self._concerns.items()}
        if any(self._told.get(concern) != (health.level, health.message) for concern, health in healths.items()):
            self.publish()

    def _status(self, concern: str, health: Health) -> DiagnosticStatus:
        return DiagnosticStatus(
            name=f"{self._node.get_fully_qualified_name().lstrip('/')}: {concern}",
            hardware_id=self._robot,
            level=bytes([health.level]),
            message=health.message,
            values=[KeyValue(key=key, value=str(value)) for key, value in health.values().items()],
        )


class Rate:
    """Messages per second, from how many there were so far whenever the figure is wanted.

    Args:
        now: seconds, when there were none yet.
    """

    def __init__(self, now: float) -> None:
        self._counted = deque([(now, 0)])

    def hz(self, count: int, now: float) -> float:
        """Mean rate over about the last `PERIOD_S`, at least.

        Args:
            count: messages so far.
            now: seconds.
        """
        while len(self._counted) > 1 and now - self._counted[1][0] >= PERIOD_S:
            self._counted.popleft()
        begin, before = self._counted[0]
        self._counted.append((now, count))
        return (count - before) / (now - begin) if now > begin else 0.0


class Latencies:
    """Percentiles over the newest durations."""

    def __init__(self, length: int = 1000) -> None:
        self._seconds: deque[float] = deque(maxlen=length)

    def add(self, seconds: float) -> None:
        """Note one duration."""
        self._seconds.append(seconds)

    def values(self, name: str) -> dict[str, str]:
        """Median, 95th and 99th percentile in milliseconds by `<name> p50_ms` and so on; empty before the first."""
        if not self._seconds:
            return {}
        percentiles = np.percentile(self._seconds, (50, 95, 99))
        return {
            f"{name} p{rank}_ms": f"{1e3 * value:.2f}" for rank, value in zip((50, 95, 99), percentiles, strict=True)
        }


def figures_message(stamp: float, name: str, figures: Mapping[str, float]) -> DiagnosticArray:
    """One status of exact figures about what has the stamp `stamp`, seconds; `figures_by_name` reads it."""
    message = DiagnosticArray()
    message.header.stamp = to_time(stamp)
    values = [KeyValue(key=key, value=repr(float(value))) for key, value in figures.items()]
    message.status.append(DiagnosticStatus(name=name, level=bytes([Level.OK]), values=values))
    return message


def figures_by_name(message: DiagnosticArray) -> dict[str, float]:
    """The figures of a message of `figures_message`."""
    return {entry.key: float(entry.value) for status in message.status for entry in status.values}


def percentiles_ms(values_s: ArrayLike) -> list[float]:
    """[p50, p95, p99] in milliseconds of times in seconds."""
    return [round(float(value), 3) for value in np.percentile(np.asarray(values_s) * 1e3, (50, 95, 99))]
