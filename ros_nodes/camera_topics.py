"""`CameraTopics`: the subscriptions to one camera, joined by stamp."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from policies.robots.drivers import CameraDriver
from representation.perceiver import Sight
from ros_nodes.convert import depth_from_image, intrinsics_from_camera_info, rgb_from_image, seconds
from ros_nodes.diagnostics import Health, Level
from ros_nodes.message_loss import LossCounter
from ros_nodes.qos import Mode, sensor

COLOR, DEPTH, INFO = "color", "depth", "info"
KEPT = 8  # messages of each topic
LOG_PERIOD_S = 2.0


class CameraTopics:
    """Subscribes to the colour of a camera and, where asked to, to depth and calibration.

    Args:
        node: the node that owns the subscriptions.
        driver: names of the topics.
        with_depth: whether sights need depth and calibration.
        mode: decides the quality of service.
        max_skew_s: largest difference between the stamp of colour and the others.
        max_age_s: what has not come for this long counts as missing (steady clock).
        steady: tells the time of the steady clock, seconds.
        on_input: called after every message.
    """

    def __init__(
        self,
        node: Node,
        driver: CameraDriver,
        with_depth: bool,
        mode: Mode,
        max_skew_s: float,
        max_age_s: float,
        steady: Callable[[], float],
        on_input: Callable[[], None],
    ) -> None:
        self._node, self._steady, self._on_input = node, steady, on_input
        self._max_skew_s, self._max_age_s = max_skew_s, max_age_s
        topics: dict[str, tuple[type, str, Callable[[Any], Any]]] = {COLOR: (Image, driver.color, rgb_from_image)}
        if with_depth:
            topics[DEPTH] = (Image, driver.depth, depth_from_image)
            topics[INFO] = (CameraInfo, driver.info, intrinsics_from_camera_info)
        self._names = {part: topic for part, (_, topic, _) in topics.items()}
        self._losses = {part: LossCounter() for part in topics}
        self._received = dict.fromkeys(topics, 0)
        self._kept: dict[str, deque[tuple[float, Any]]] = {part: deque(maxlen=KEPT) for part in topics}
        self._taken = -float("inf")
        self.clear()
        self._subscriptions_made = [
            node.create_subscription(kind, topic, partial(self._on_message, part, convert), sensor(mode))
            for part, (kind, topic, convert) in topics.items()
        ]

    def take(self) -> Sight | None:
        """The newest complete sight that was not handed out yet, or None."""
        for stamp, rgb in reversed(self._kept[COLOR]):
            if stamp <= self._taken:
                break
            others = {part: self._nearest(part, stamp) for part in (DEPTH, INFO) if part in self._kept}
            if any(other is None for other in others.values()):
                continue
            self._taken, self._taken_at = stamp, self._steady()
            matrix, size = others.get(INFO) or (None, rgb.shape[:2])
            depth = others.get(DEPTH)
            if size != rgb.shape[:2] or (depth is not None and depth.shape != size):
                found = None if depth is None else depth.shape
                self._refuse(COLOR, f"expected pictures of one size, found {rgb.shape[:2]}, {found}, {size}")
                return None
            return Sight(stamp, rgb, depth, matrix)
        return None

    def without_publisher(self) -> list[str]:
        """Topics that nobody publishes, as they are named after remapping."""
        return [needed.topic_name for needed in self._subscriptions_made if needed.get_publisher_count() == 0]

    def clear(self) -> None:
        """Forget every message that came so far."""
        for kept in self._kept.values():
            kept.clear()
        self._arrived: dict[str, float] = {}
        self._refused: dict[str, tuple[float, str]] = {}
        self._taken, self._taken_at = -float("inf"), self._steady()

    def destroy(self) -> None:
        """End the subscriptions."""
        for subscription in self._subscriptions_made:
            self._node.destroy_subscription(subscription)

    def health(self) -> Health:
        """What is missing, refused or too far apart."""
        now = self._steady()
        refused = [text for at, text in self._refused.values() if now - at <= self._max_age_s]
        if refused:
            return Health(Level.ERROR, f"refused: {'; '.join(refused)}", self._values)
        missing = [self._missing(part, now) for part in self._names]
        if any(missing):
            return Health(Level.ERROR, f"missing: {'; '.join(filter(None, missing))}", self._values)
        if now - self._taken_at > self._max_age_s:
            apart = f"no colour and depth within {self._max_skew_s:g} s of each other: compare the stamps"
            return Health(Level.ERROR, apart, self._values)
        return Health(Level.OK, "every input comes", self._values)

    def _missing(self, part: str, now: float) -> str:
        if part not in self._arrived:
            return f"{self._names[part]} never came"
        age = now - self._arrived[part]
        return f"{self._names[part]} last came {age:.2f} s ago" if age > self._max_age_s else ""

    def _nearest(self, part: str, stamp: float) -> Any:
        found = min(self._kept[part], key=lambda item: abs(item[0] - stamp), default=None)
        return found[1] if found is not None and abs(found[0] - stamp) <= self._max_skew_s else None

    def _on_message(self, part: str, convert: Callable[[Any], Any], message: Any, info: Mapping[str, int]) -> None:
        self._losses[part].add(info["publication_sequence_number"])
        self._received[part] += 1
        try:
            value = convert(message)
        except ValueError as error:
            self._refuse(part, str(error))
            return
        stamp = seconds(message.header.stamp)
        kept = self._kept[part]
        if kept and stamp < kept[-1][0]:  # the camera was restarted, or a recording begins again
            for others in self._kept.values():
                others.clear()
            self._taken = -float("inf")
        kept.append((stamp, value))
        self._arrived[part] = self._steady()
        self._on_input()

    def _refuse(self, part: str, reason: str) -> None:
        text = f"{self._names[part]}: {reason}"
        self._refused[part] = (self._steady(), text)
        self._node.get_logger().error(text, throttle_duration_sec=LOG_PERIOD_S)

    def _values(self) -> Mapping[str, object]:
        values: dict[str, object] = {}
        for part in self._names:
            values[f"{part} received"] = self._received[part]
            values[f"{part} lost"] = self._losses[part].lost
        return values
