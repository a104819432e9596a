"""The recorder beside a simulator, as processes: what it records is what a live node saw."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import Joy
from std_msgs.msg import String

from policies.data.bag_episodes import BagEpisodes, EpisodeEnd, EpisodeFrame, EpisodeStart
from policies.execution.joystick import JoyLayout
from policies.execution.observation_sync import SyncConfig
from policies.interface import Observation
from policies.robots import get_drivers, get_robot
from representation.data.bag_messages import decode
from representation.data.bag_reader import BagReader
from representation.data.episode_marks import EpisodeMark
from ros_nodes.graph_client import GraphClient, GraphError
from ros_nodes.observation_topics import ObservationTopics
from ros_nodes.qos import STATUS
from tests.ros_nodes.started_node import node_process

NAMESPACE = "/recorded"
CAMERAS = ("front", "wrist")
SYNC = SyncConfig(max_skew_s=0.0)
OBSERVATIONS = 15
PATIENCE_S = 60.0
EVERY_OBSERVATION_HZ = 1000.0
LAYOUT = JoyLayout()
MORE_THAN_A_QUEUE_HOLDS = 5000


class Listener(GraphClient):
    """Makes observations as the policy's node does, and asks the other nodes for things."""

    def __init__(self) -> None:
        super().__init__("listener", lambda: False)
        self.steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self.observations: list[Observation] = []
        self.diagnostics: dict[str, tuple[int, str, dict[str, str]]] = {}
        robot = get_robot("panda")
        self.topics = ObservationTopics(
            self, robot, get_drivers("panda"), CAMERAS, "realtime", SYNC, self._take, lambda reason: None
        )
        self.joy = self.create_publisher(Joy, "joy", 10)
        self.marks: list[EpisodeMark] = []
        self._more = [
            self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, STATUS),
            self.create_subscription(
                String, "episode_marks", lambda message: self.marks.append(EpisodeMark.from_json(message.data)), STATUS
            ),
        ]

    def until(self, condition: Callable[[], object], what: str) -> None:
        self.wait_until(condition, PATIENCE_S, what)

    def press(self, button: int) -> None:
        """Press and release a button of the joystick."""
        count = len(self.marks)
        for pressed in (0, 1, 0):
            buttons = [0] * LAYOUT.most_buttons
            buttons[button] = pressed
            self.joy.publish(Joy(axes=[0.0] * LAYOUT.most_axes, buttons=buttons))
        self.until(lambda: len(self.marks) > count, f"a mark after button {button}")

    def _take(self) -> None:
        observation = self.topics.take()
        if observation is not None:
            self.observations.append(observation)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {entry.key: entry.value for entry in status.values}
            self.diagnostics[status.name.rpartition("/")[2]] = (status.level[0], status.message, values)


@dataclass(frozen=True)
class Run:
    """What was seen live, and the bag of the same time."""

    live: list[Observation]
    bag: Path
    marks: list[EpisodeMark]
    refusal: str
    values: dict[str, str]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("bags")
    rclpy.init(args=["--ros-args", "-r", f"__ns:={NAMESPACE}"])
    listener = Listener()
    small = ("mode:=realtime", "camera_rate_hz:=15.0", "simulation.width:=48", "simulation.height:=32")
    try:
        with (
            node_process("simulator_node", NAMESPACE, *small),
            node_process("recorder_node", NAMESPACE, f"recording.folder:={folder}", "bag.min_free_mb:=1") as recorder,
        ):
            listener.until(lambda: listener.count_publishers("episode_marks"), "the recorder")
            with pytest.raises(GraphError, match="expected an instruction, found none"):
                listener.trigger("recorder_node/start", PATIENCE_S)
            listener.trigger("simulator_node/reset", PATIENCE_S)
            listener.until(lambda: len(listener.observations) > 3, "observations")
            # Only once every topic is recorded can the recording be compared with what was seen.
            recording = "recorder_node: recording"
            listener.until(
                lambda: (
                    "camera"
                    not in listener.diagnostics.get(recording, (0, "", {}))[2].get("not_published_yet", "camera")
                ),
                "all topics recorded",
            )
            listener.trigger("recorder_node/start", PATIENCE_S)
            begun = len(listener.observations)
            listener.until(lambda: len(listener.observations) > begun + OBSERVATIONS, "more observations")
            listener.press(LAYOUT.success)
            with pytest.raises(GraphError) as refusal:
                listener.trigger("recorder_node/failure", PATIENCE_S)
            listener.press(LAYOUT.start)
            listener.press(LAYOUT.discard)
            recorder.send_signal(signal.SIGTERM)
            assert recorder.wait(20) == 0
        (bag,) = folder.iterdir()
        values = listener.diagnostics[recording][2]
        yield Run(listener.observations, bag, listener.marks, str(refusal.value), values)
    finally:
        listener.topics.destroy()
        listener.end()
        rclpy.try_shutdown()


def test_observations_from_the_recording_are_bit_equal_to_those_of_a_live_node(run):
    robot = get_robot("panda"), get_drivers("panda")
    entries = list(BagEpisodes(run.bag, *robot, CAMERAS, SYNC, EVERY_OBSERVATION_HZ, NAMESPACE))
    converted = {entry.observation.stamp: entry.observation for entry in entries if isinstance(entry, EpisodeFrame)}
    live = {observation.stamp: observation for observation in run.live}
    common = sorted(set(converted) & set(live))
    assert len(common) >= OBSERVATIONS - 3, f"{len(converted)} converted, {len(live)} live"
    for stamp in common:
        one, other = converted[stamp], live[stamp]
        assert one.instruction == other.instruction
        np.testing.assert_array_equal(one.joint_positions, other.joint_positions)
        np.testing.assert_array_equal(one.joint_velocities, other.joint_velocities)
        for camera in CAMERAS:
            for name in ("rgb", "depth", "intrinsics", "base_from_camera"):
                here, there = getattr(one.cameras[camera], name), getattr(other.cameras[camera], name)
                assert here.dtype == there.dtype
                np.testing.assert_array_equal(here, there, err_msg=f"{camera} {name} at {stamp}")


def test_marks_by_service_and_joystick_cut_the_recording(run):
    robot = get_robot("panda"), get_drivers("panda")
    entries = list(BagEpisodes(run.bag, *robot, CAMERAS, SYNC, EVERY_OBSERVATION_HZ, NAMESPACE))
    starts = [entry for entry in entries if isinstance(entry, EpisodeStart)]
    ends = [entry.event for entry in entries if isinstance(entry, EpisodeEnd)]
    assert [mark.event for mark in run.marks] == ["start", "success", "start", "discard"]
    assert ends == ["success", "discard"]
    assert {start.instruction for start in starts} == {run.marks[0].instruction}
    assert run.marks[0].instruction


def test_a_mark_out_of_order_is_refused_with_the_reason(run):
    assert "failure: no episode is running: mark start first" in run.refusal


def test_the_bag_is_whole_and_of_every_topic_with_the_quality_of_service_of_its_publisher(run):
    with Reader(run.bag) as reader:
        topics = {connection.topic.removeprefix(f"{NAMESPACE}/"): connection for connection in reader.connections}
        counts = {name: connection.msgcount for name, connection in topics.items()}
    for camera in CAMERAS:
        for part in ("color/image_raw", "color/camera_info", "aligned_depth_to_color/image_raw"):
            assert counts[f"camera/{camera}/{part}"] >= OBSERVATIONS
        assert counts[f"camera/{camera}/extrinsics"] == 1
    assert counts["joint_states"] > 3 * OBSERVATIONS
    assert counts["episode_marks"] == 4
    assert counts["/diagnostics"] > 0

    def offered(name: str) -> tuple[str, str]:
        (profile,) = topics[name].ext.offered_qos_profiles
        return profile.reliability.name, profile.durability.name

    assert offered("camera/front/color/image_raw") == ("BEST_EFFORT", "VOLATILE")
    assert offered("joint_states") == ("RELIABLE", "VOLATILE")
    assert offered("camera/front/extrinsics") == ("RELIABLE", "TRANSIENT_LOCAL")


def test_the_diagnostics_count_messages_by_topic(run):
    topic = f"{NAMESPACE}/camera/front/color/image_raw"
    assert int(run.values[f"{topic} received"]) >= OBSERVATIONS
    assert run.values["dropped"] == "0"
    recorded = [m.sequence for m in BagReader(run.bag).messages({topic})]
    assert recorded == sorted(set(recorded)), "publication numbers are recorded with the messages"


def test_messages_that_never_came_are_counted_as_the_bag_shows_them(tmp_path):
    """A recorder that stands still meanwhile cannot take what its transport has no room for."""
    context = Context()
    rclpy.init(context=context)
    talker = rclpy.create_node("talker", context=context, namespace="/lossy")
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(talker)
    numbers = talker.create_publisher(String, "numbers", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
    told: list[tuple[int, int]] = []  # received, lost

    def on_diagnostics(message: DiagnosticArray) -> None:
        for status in message.status:
            values = {entry.key: entry.value for entry in status.values}
            if status.name == "lossy/recorder_node: recording" and "/lossy/numbers lost" in values:
                told.append((int(values["/lossy/numbers received"]), int(values["/lossy/numbers lost"])))

    subscription = talker.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, STATUS)
    sent = 0

    def send() -> None:
        nonlocal sent
        numbers.publish(String(data=str(sent)))
        sent += 1

    def wait_for(condition: Callable[[], object], meanwhile: Callable[[], None] = lambda: None) -> None:
        limit = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < limit, f"{sent} sent, told {told[-1:]}"
            meanwhile()
            executor.spin_once(timeout_sec=0.1)

    try:
        options = (f"recording.folder:={tmp_path}", "bag.min_free_mb:=1", "recording.topics:=['numbers']")
        with node_process("recorder_node", "/lossy", *options) as recorder:
            wait_for(lambda: told and told[-1][0] > 0, send)
            recorder.send_signal(signal.SIGSTOP)
            for _ in range(MORE_THAN_A_QUEUE_HOLDS):
                send()
            recorder.send_signal(signal.SIGCONT)
            # A loss shows with the next message that comes.
            wait_for(lambda: told[-1][1] > 0, send)
            told.clear()
            wait_for(lambda: len(told) > 2 and told[-1] == told[-2] == told[-3])
            recorder.send_signal(signal.SIGTERM)
            assert recorder.wait(20) == 0
    finally:
        executor.shutdown()
        talker.destroy_subscription(subscription)
        talker.destroy_node()
        rclpy.shutdown(context=context)
    (bag,) = tmp_path.iterdir()
    recorded = [int(decode(message.data, message.type).data) for message in BagReader(bag).messages({"/lossy/numbers"})]
    assert told[-1] == (len(recorded), recorded[-1] - recorded[0] + 1 - len(recorded))


def test_recording_stops_before_the_disk_is_full_and_says_so(tmp_path):
    with node_process(
        "recorder_node", "/full", f"recording.folder:={tmp_path}", "bag.min_free_mb:=1000000", ends=2
    ) as recorder:
        assert recorder.wait(30) == 2, "expected a refusal: nothing could be recorded"


def test_a_killed_recorder_leaves_what_it_recorded(tmp_path):
    context = Context()
    rclpy.init(context=context)
    talker = rclpy.create_node("talker", context=context, namespace="/killed")
    kept = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = talker.create_publisher(String, "instruction", kept)

    def wait_for(condition: Callable[[], object]) -> None:
        limit = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < limit
            time.sleep(0.01)

    try:
        options = (f"recording.folder:={tmp_path}", "bag.min_free_mb:=1")
        with node_process("recorder_node", "/killed", *options, ends=-signal.SIGKILL) as recorder:
            # One subscription of the node itself, and one that records.
            wait_for(lambda: publisher.get_subscription_count() >= 2)
            (file,) = tmp_path.glob("*/*.mcap")
            number = 0
            while file.stat().st_size < 200_000:
                publisher.publish(String(data=f"{number} " + os.urandom(10_000).hex()))
                number += 1
                time.sleep(0.01)
            os.kill(recorder.pid, signal.SIGKILL)
            recorder.wait()
    finally:
        talker.destroy_node()
        rclpy.shutdown(context=context)
    reader = BagReader(file)
    texts = [decode(message.data, message.type).data for message in reader.messages({"/killed/instruction"})]
    numbers = [int(text.split()[0]) for text in texts]
    assert len(numbers) > 5
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert reader.cut
