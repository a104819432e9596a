"""`TopicRecorder`: subscriptions that hand serialised messages to a bag, with the publishers' quality of service."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo

from representation.data.bag_messages import check_type
from representation.data.bag_recorder import BagRecorder
from representation.data.bag_writer import BagTopic
from ros_nodes.message_loss import LossCounter

# Deep enough for the pictures that come while the interpreter is busy elsewhere.
DEPTH = 50


@dataclass(slots=True)
class _Recorded:
    """A topic that is recorded."""

    topic: BagTopic
    subscription: Subscription
    loss: LossCounter
    received: int = 0
    countable: bool = True


class TopicRecorder:
    """Subscribes to topics as soon as somebody publishes them.

    Args:
        node: the node that owns the subscriptions.
        names: topics to record, relative to the node's namespace; remapping works.
        bag: where the messages go.

    Attributes:
        problems: by topic, why it is not recorded.
    """

    def __init__(self, node: Node, names: Sequence[str], bag: BagRecorder) -> None:
        self.problems: dict[str, str] = {}
        self._node = node
        self._names = list(dict.fromkeys(node.resolve_topic_name(name) for name in names))
        self._bag = bag
        self._recorded: dict[str, _Recorded] = {}

    def discover(self) -> None:
        """Look for publishers that came, or whose quality of service asks for another subscription; call it often."""
        for name in self._names:
            publishers = self._node.get_publishers_info_by_topic(name)
            if publishers:
                self._adapt(name, publishers)

    def missing(self) -> list[str]:
        """Topics that nobody has published yet."""
        return [name for name in self._names if name not in self._recorded and name not in self.problems]

    def losses(self) -> dict[str, int]:
        """Messages that were sent and never came, by topic; topics with several publishers cannot be counted."""
        return {name: recorded.loss.lost for name, recorded in self._recorded.items() if recorded.countable}

    def values(self) -> Mapping[str, object]:
        """Figures for the diagnostics: received and lost messages of every topic."""
        values: dict[str, object] = {}
        for name, recorded in self._recorded.items():
            values[f"{name} received"] = recorded.received
            values[f"{name} lost"] = recorded.loss.lost if recorded.countable else "unknown: several publishers"
        return values

    def _adapt(self, name: str, publishers: Sequence[TopicEndpointInfo]) -> None:
        topic = _offered(name, publishers)
        known = self._recorded.get(name)
        if known is not None:
            known.countable &= len(publishers) == 1
            if (known.topic.reliable, known.topic.latched) == (topic.reliable, topic.latched):
                return
            self._node.destroy_subscription(known.subscription)
            known.topic, known.subscription, known.loss = topic, self._subscribe(topic), LossCounter()
            return
        try:
            check_type(topic.type)
            subscription = self._subscribe(topic)
        except (ValueError, ImportError, AttributeError) as error:
            if name not in self.problems:
                self._node.get_logger().error(f"{name} is not recorded: {error}")
            self.problems[name] = str(error)
            return
        self._bag.add_topic(topic)
        self._recorded[name] = _Recorded(topic, subscription, LossCounter(), countable=len(publishers) == 1)

    def _subscribe(self, topic: BagTopic) -> Subscription:
        profile = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=DEPTH,
            reliability=ReliabilityPolicy.RELIABLE if topic.reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if topic.latched else DurabilityPolicy.VOLATILE,
        )
        receive = partial(self._on_message, topic.name)
        return self._node.create_subscription(_message_class(topic.type), topic.name, receive, profile, raw=True)

    def _on_message(self, name: str, message: bytes, info: Mapping[str, int]) -> None:
        recorded = self._recorded[name]
        recorded.received += 1
        sequence = info["publication_sequence_number"] or 0
        recorded.loss.add(sequence)
        now = self._node.get_clock().now().nanoseconds
        self._bag.write(name, message, now, info["source_timestamp"], sequence)


def _offered(name: str, publishers: Sequence[TopicEndpointInfo]) -> BagTopic:
    """The strongest quality of service that every publisher offers: asking for more would hear nothing of some."""
    profiles = [publisher.qos_profile for publisher in publishers]
    return BagTopic(
        name,
        publishers[0].topic_type,
        reliable=all(profile.reliability == ReliabilityPolicy.RELIABLE for profile in profiles),
        latched=all(profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for profile in profiles),
        # Discovery does not tell the depth; players need one.
        depth=max(1, *(profile.depth for profile in profiles)),
    )


def _message_class(name: str) -> type:
    package, folder, kind = name.split("/")
    return getattr(importlib.import_module(f"{package}.{folder}"), kind)
