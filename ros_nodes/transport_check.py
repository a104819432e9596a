"""Measure what the DDS transport does to camera images: `python -m ros_nodes.transport_check`.

One process publishes RGB-D frames as a camera does, another receives them as `policy_node` does (sensor QoS). Lost
frames and latencies are printed with the shared-memory profile and with the middleware's defaults.
"""

from __future__ import annotations

import array
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from typing import Literal

import numpy as np
import rclpy
import tyro
from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import UInt32

from ros_nodes.qos import LATCHED, sensor
from ros_nodes.supervision import die_with_parent
from ros_nodes.transport import PROFILE_VARIABLE, use_shared_memory_profile

Transport = Literal["shared_memory", "default"]

SENSOR = sensor("realtime")
STREAMS = {"color": ("rgb8", 3), "depth": ("32FC1", 4)}
WARM_UP_S = 1.0
DRAIN_S = 1.0
DISCOVERY_LIMIT_S = 20.0
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """What is sent, and how the result is printed.

    Attributes:
        width: image width in pixels.
        height: image height in pixels.
        rate_hz: frames per second of each of the two streams (colour and depth).
        duration_s: seconds that are counted, after one second of warm-up.
        profiles: which transports to measure.
        domain_id: ROS domain of the measurement; None takes ROS_DOMAIN_ID.
        json: print JSON instead of a table.
    """

    width: int = 640
    height: int = 480
    rate_hz: float = 30.0
    duration_s: float = 10.0
    profiles: tuple[Transport, ...] = ("shared_memory", "default")
    domain_id: int | None = None
    json: bool = False

    def __post_init__(self) -> None:
        for name in ("width", "height", "rate_hz", "duration_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected > 0, found {getattr(self, name)}")

    @property
    def counted_frames(self) -> int:
        """Frames per stream that enter the result."""
        return max(1, round(self.rate_hz * self.duration_s))

    @property
    def warm_up_frames(self) -> int:
        """Frames per stream sent before counting begins."""
        return round(self.rate_hz * WARM_UP_S)


@dataclass(frozen=True, slots=True)
class StreamResult:
    """Fate of one image stream.

    Attributes:
        profile: transport that was active.
        stream: `color` or `depth`.
        sent: frames counted at the publisher.
        received: of these, frames that arrived.
        rate_hz: rate that the publisher achieved.
        latency_ms: p50, p95 and p99 from the stamp (before publishing) to the subscriber's callback; NaN where no
            frame arrived.
    """

    profile: str
    stream: str
    sent: int
    received: int
    rate_hz: float
    latency_ms: tuple[float, float, float]

    @property
    def loss(self) -> float:
        """Fraction of the frames that never arrived."""
        return 1.0 - self.received / self.sent


def publish_frames(options: TransportOptions) -> None:
    """Send the frames on time, then tell how many milliseconds the counted ones took."""
    node = rclpy.create_node("transport_check_publisher")
    publishers = {stream: node.create_publisher(Image, f"transport_check/{stream}", SENSOR) for stream in STREAMS}
    finished = node.create_publisher(UInt32, "transport_check/finished", LATCHED)
    spin_until(
        node,
        lambda: all(publisher.get_subscription_count() for publisher in (*publishers.values(), finished)),
        time.monotonic() + DISCOVERY_LIMIT_S,
        "a subscriber of every stream",
    )
    messages = {stream: blank_image(options, *STREAMS[stream]) for stream in STREAMS}
    begin = time.monotonic()
    total = options.warm_up_frames + options.counted_frames
    for index in range(total):
        pause_until(begin + index / options.rate_hz)
        if index == options.warm_up_frames:
            counted_from = time.monotonic()
        for stream, publisher in publishers.items():
            message = messages[stream]
            message.header.frame_id = str(index)
            message.header.stamp = to_stamp(time.time_ns())
            publisher.publish(message)
    pause_until(begin + total / options.rate_hz)
    finished.publish(UInt32(data=round((time.monotonic() - counted_from) * 1000)))
    finished.wait_for_all_acked(Duration(seconds=DISCOVERY_LIMIT_S))
    node.destroy_node()


def receive_frames(options: TransportOptions, profile: str) -> list[StreamResult]:
    """Collect latencies until the publisher has finished."""
    node = rclpy.create_node("transport_check_subscriber")
    latencies: dict[str, list[float]] = {stream: [] for stream in STREAMS}
    elapsed_ms: list[int] = []

    def on_image(stream: str, message: Image) -> None:
        now = time.time_ns()
        if int(message.header.frame_id) >= options.warm_up_frames:
            stamp = message.header.stamp
            latencies[stream].append((now - stamp.sec * 1_000_000_000 - stamp.nanosec) / 1e6)

    subscriptions = [
        node.create_subscription(
            Image,
            f"transport_check/{stream}",
            lambda message, stream=stream: on_image(stream, message),
            sensor("realtime"),
        )
        for stream in STREAMS
    ]
    subscriptions.append(
        node.create_subscription(
            UInt32, "transport_check/finished", lambda message: elapsed_ms.append(message.data), LATCHED
        )
    )
    limit = time.monotonic() + DISCOVERY_LIMIT_S + WARM_UP_S + 3 * options.duration_s
    spin_until(node, lambda: bool(elapsed_ms), limit, "the publisher's end")
    drained = time.monotonic() + DRAIN_S
    while (left := drained - time.monotonic()) > 0:
        rclpy.spin_once(node, timeout_sec=left)
    node.destroy_node()
    rate = options.counted_frames / max(1, elapsed_ms[0]) * 1000
    return [
        StreamResult(profile, stream, options.counted_frames, len(times), rate, percentiles(times))
        for stream, times in latencies.items()
    ]


def measure(options: TransportOptions, profile: Transport) -> list[StreamResult]:
    """Run publisher and subscriber, each in a process of its own, under one transport.

    Raises:
        TimeoutError: discovery or the measurement exceeded its limit; names what was missing.
    """
    setting = (options, profile, os.getpid())
    with ProcessPoolExecutor(2, get_context("spawn"), prepare_process, setting) as processes:
        results = processes.submit(receive_frames, options, profile)
        processes.submit(publish_frames, options).result()
        return results.result()


def prepare_process(options: TransportOptions, profile: Transport, parent: int) -> None:
    """Choose transport and domain, which must happen before rclpy starts, and end with the parent.

    Raises:
        RuntimeError: the shared-memory profile cannot be used here; says why.
    """
    die_with_parent(parent)
    if options.domain_id is not None:
        os.environ["ROS_DOMAIN_ID"] = str(options.domain_id)
    os.environ.pop(PROFILE_VARIABLE, None)
    if profile == "shared_memory":
        report = use_shared_memory_profile()
        if PROFILE_VARIABLE not in os.environ:
            raise RuntimeError(report)
    rclpy.init()


def blank_image(options: TransportOptions, encoding: str, pixel_bytes: int) -> Image:
    """An image message of the right size whose bytes are not all equal."""
    row = options.width * pixel_bytes
    data = array.array("B")
    data.frombytes((np.arange(row * options.height, dtype=np.uint32) % 251).astype(np.uint8).tobytes())
    return Image(width=options.width, height=options.height, encoding=encoding, step=row, data=data)


def to_stamp(nanoseconds: int) -> Time:
    """Message stamp of a time in ns."""
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def pause_until(moment: float) -> None:
    """Sleep until a monotonic time in seconds."""
    time.sleep(max(0.0, moment - time.monotonic()))


def spin_until(node: Node, condition: Callable[[], bool], limit: float, what: str) -> None:
    """Handle callbacks until the condition holds.

    Raises:
        TimeoutError: `limit` (monotonic seconds) has passed.
    """
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(f"{node.get_name()}: expected {what}, but the time limit has passed")
        rclpy.spin_once(node, timeout_sec=POLL_S)


def percentiles(latencies_ms: list[float]) -> tuple[float, float, float]:
    """p50, p95 and p99; NaN of nothing."""
    if not latencies_ms:
        return (float("nan"),) * 3
    p50, p95, p99 = np.percentile(latencies_ms, (50, 95, 99))
    return float(p50), float(p95), float(p99)


def table(options: TransportOptions, results: list[StreamResult]) -> str:
    """Render the results for people."""
    lines = [
        f"{options.width}x{options.height} RGB-D at {options.rate_hz:g} Hz for {options.duration_s:g} s",
        f"{'transport':<14} {'stream':<7} {'sent':>6} {'lost':>6} {'loss':>7}"
        f" {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'rate Hz':>8}",
    ]
    for result in results:
        p50, p95, p99 = result.latency_ms
        lines.append(
            f"{result.profile:<14} {result.stream:<7} {result.sent:>6} {result.sent - result.received:>6} "
            f"{result.loss:>7.1%} {p50:>8.2f} {p95:>8.2f} {p99:>8.2f} {result.rate_hz:>8.1f}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    options = tyro.cli(TransportOptions, description=__doc__, args=arguments)
    results = [result for profile in options.profiles for result in measure(options, profile)]
    if options.json:
        print(json.dumps([asdict(result) | {"loss": result.loss} for result in results], indent=2))
    else:
        print(table(options, results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
