"""`recorder_node`: records the topics of cameras, arm and policy into an MCAP bag, with marks of the episodes.

One bag per run, in a new directory below `recording.folder`. Episodes are marked by the services `~/start`,
`~/success`, `~/failure` and `~/discard`, or by the buttons of a joystick on `joy` (`keyboard_joy_node` makes one of the
keyboard); marks are recorded, and told to others, on `episode_marks`. Recording stops in order before the disk is full;
nothing that moves the arm depends on this node.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import Joy
from std_msgs.msg import String
from std_srvs.srv import Trigger

from policies.execution.joystick import ButtonPresses, JoyLayout
from policies.robots import get_drivers
from representation.data.bag_messages import encode, make
from representation.data.bag_recorder import CLOSED, BagRecorder, RecorderConfig
from representation.data.bag_writer import BagTopic
from representation.data.episode_marks import MARKS_TOPIC, EpisodeMarks, Event
from ros_nodes.diagnostics import Diagnostics, Health, Level
from ros_nodes.node_process import run_node
from ros_nodes.params import declare
from ros_nodes.qos import LATCHED, STATUS
from ros_nodes.topic_recorder import TopicRecorder

DISCOVERY_PERIOD_S = 0.2
MARK_TYPE = "std_msgs/msg/String"
JOY_DEPTH = 10


@dataclass(frozen=True, slots=True)
class RecordingConfig:
    """What is recorded, and where to.

    Attributes:
        robot: name of the robot; its commands are recorded.
        cameras: names of the cameras whose colour, depth, calibration and mount are recorded.
        topics: further topics.
        folder: directory that gets the bag's directory, named after the time; made if it is not there.
    """

    robot: str = "panda"
    cameras: tuple[str, ...] = ("front", "wrist")
    topics: tuple[str, ...] = ("planned_trajectory", "estop", "joy", "/diagnostics", "tf", "tf_static")
    folder: str = "runs/bags"

    def all_topics(self) -> list[str]:
        """Every topic, relative ones too."""
        drivers = get_drivers(self.robot)
        names = ["instruction", drivers.joint_states, *(controller.topic for controller in drivers.controllers)]
        for camera in map(drivers.camera, self.cameras):
            names += [camera.color, camera.info, camera.depth, camera.extrinsics]
        return [*names, *self.topics]


class RecorderNode(Node):
    """Wiring between topics, a `BagRecorder` and `EpisodeMarks`."""

    def __init__(self) -> None:
        super().__init__("recorder_node")
        self._config = declare(self, RecordingConfig, "recording")
        self._joystick = declare(self, JoyLayout, "joystick")
        folder = Path(self._config.folder) / time.strftime("%Y%m%d_%H%M%S")
        self._bag = BagRecorder(folder, declare(self, RecorderConfig, "bag"))
        self._folder = folder
        self._marks_topic = self.resolve_topic_name(MARKS_TOPIC)
        self._bag.add_topic(BagTopic(self._marks_topic, MARK_TYPE))
        self._topics = TopicRecorder(self, self._config.all_topics(), self._bag)
        self._marks = EpisodeMarks()
        self._presses = ButtonPresses()
        self._instruction = ""
        self._last_refusal = ""
        self._mark_publisher = self.create_publisher(String, MARKS_TOPIC, STATUS)
        self._subscriptions_made = [
            self.create_subscription(String, "instruction", self._on_instruction, LATCHED),
            self.create_subscription(Joy, "joy", self._on_joy, JOY_DEPTH),
        ]
        self._mark_services = [
            self.create_service(Trigger, f"~/{event}", partial(self._on_request, event)) for event in get_args(Event)
        ]
        self._diagnostics = Diagnostics(
            self, self._config.robot, {"recording": self._recording_health, "episodes": self._episodes_health}
        )
        self._discovery = self.create_timer(
            DISCOVERY_PERIOD_S, self._look_around, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self.get_logger().info(f"recording into {folder}")

    def stop(self) -> None:
        """Write the end of the bag."""
        if not self._bag.close():
            self.get_logger().error(f"{self._folder}: the disk was too slow for an orderly end: recover the bag")
        status = self._bag.status
        lost = sum(self._topics.losses().values())
        self.get_logger().info(
            f"{self._folder}: {status.messages} messages, {status.size / 1e6:.1f} MB, {lost} lost, "
            f"{status.dropped} dropped"
        )
        self._diagnostics.publish()

    def _look_around(self) -> None:
        self._topics.discover()
        self._diagnostics.publish_changes()

    def _on_instruction(self, message: String) -> None:
        self._instruction = message.data

    def _on_request(self, event: Event, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        problem = self._mark(event)
        response.success, response.message = not problem, problem or f"{event} of {self._instruction!r} is recorded"
        return response

    def _on_joy(self, message: Joy) -> None:
        pressed = self._presses.add(message.buttons)
        for event in get_args(Event):
            if getattr(self._joystick, event) in pressed:
                self._mark(event)

    def _mark(self, event: Event) -> str:
        """Record a mark; returns why that was refused."""
        try:
            if self._bag.status.ended:
                raise ValueError(f"{event}: nothing is recorded any more: {self._bag.status.ended}")
            mark = self._marks.mark(event, self._instruction)
        except ValueError as error:
            self._last_refusal = str(error)
            self.get_logger().warning(self._last_refusal)
            return self._last_refusal
        self._last_refusal = ""
        # Straight into the bag, so that no mark is lost; the others hear of it.
        now = self.get_clock().now().nanoseconds
        self._bag.write(self._marks_topic, encode(make(MARK_TYPE, data=mark.to_json()), MARK_TYPE), now, now)
        self._mark_publisher.publish(String(data=mark.to_json()))
        self.get_logger().info(f"episode: {event}: {mark.instruction!r}")
        self._diagnostics.publish_changes()
        return ""

    def _recording_health(self) -> Health:
        status = self._bag.status
        if status.ended == CLOSED:
            return Health(Level.OK, f"{self._folder} is closed", self._recording_values)
        if status.ended:
            return Health(Level.ERROR, f"nothing is recorded any more: {status.ended}", self._recording_values)
        if self._topics.problems:
            return Health(Level.ERROR, f"not recorded: {', '.join(self._topics.problems)}", self._recording_values)
        if status.dropped:
            return Health(Level.ERROR, "messages are lost because the disk is too slow", self._recording_values)
        return Health(Level.OK, f"recording into {self._folder}", self._recording_values)

    def _recording_values(self) -> Mapping[str, object]:
        status = self._bag.status
        return {
            "messages": status.messages,
            "size_mb": f"{status.size / 1e6:.1f}",
            "waiting_mb": f"{status.waiting / 1e6:.1f}",
            "dropped": status.dropped,
            "not_published_yet": ", ".join(self._topics.missing()),
            **self._topics.values(),
        }

    def _episodes_health(self) -> Health:
        if self._last_refusal:
            return Health(Level.WARN, self._last_refusal, self._marks.counts.copy)
        return Health(
            Level.OK, "an episode runs" if self._marks.running else "between episodes", self._marks.counts.copy
        )


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node(RecorderNode, args)


if __name__ == "__main__":
    sys.exit(main())
