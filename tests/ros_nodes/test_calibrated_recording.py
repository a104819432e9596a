"""A recording of skewed, late and fast cameras is converted as a live node with the same calibration sees them."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import TransformStamped
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String

from policies.calibration.camera_parameters import read_camera_parameters
from policies.data.bag_episodes import BagEpisodes, EpisodeFrame
from policies.execution.cadence import Cadence
from policies.execution.camera_pose import CameraConfig, camera_pose
from policies.execution.kinematics import Kinematics
from policies.execution.observation_sync import SyncConfig
from policies.interface import Observation
from policies.robots import get_drivers
from ros_nodes import convert
from ros_nodes.graph_client import GraphClient
from ros_nodes.observation_topics import ObservationTopics
from ros_nodes.params import declare
from ros_nodes.qos import JOINT_STATE_OUT, LATCHED, sensor
from tests.ros_nodes.fake_robot import INTRINSICS, MOUNT, SIZE, SPEC
from tests.ros_nodes.started_node import node_process

NAMESPACE = "/calibrated_recording"
CAMERAS = ("front", "wrist")
SYNC = SyncConfig(max_skew_s=0.015)
HZ = 5.0
PERIOD_S = 0.05  # of joints and pictures, four for each observation
FRONT_LATE = 3  # periods that the front camera's pictures are on their way; it stamps them when they arrive
FRONT_SKEW_S, WRIST_SKEW_S = 0.004, 0.007  # after the joint state
TICKS = 64
PATIENCE_S = 60.0
CALIBRATION = f"""
/**/policy_node:
  ros__parameters:
    camera.front.latency_s: {FRONT_LATE * PERIOD_S}
    camera.wrist.parent_frame: hand
    camera.wrist.position: [0.05, 0.0, 0.04]
    camera.wrist.quaternion_xyzw: [0.0, 0.0, 0.0, 1.0]
"""


class LiveNode(GraphClient):
    """Makes observations as the policy's node does, of sensors that it plays itself."""

    def __init__(self) -> None:
        super().__init__("policy_node", lambda: False)
        self.steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self.observations: list[Observation] = []
        self.cadence = Cadence(HZ)
        calibrations = {camera: declare(self, CameraConfig, f"camera.{camera}") for camera in CAMERAS}
        self.topics = ObservationTopics(
            self, SPEC, get_drivers("panda"), CAMERAS, "realtime", SYNC, self.take, lambda reason: None, calibrations
        )
        self.joints = self.create_publisher(JointState, "joint_states", JOINT_STATE_OUT)
        self.instruction = self.create_publisher(String, "instruction", LATCHED)
        self.mounts, self.pictures = {}, {}
        for camera in CAMERAS:
            driver = get_drivers("panda").camera(camera)
            self.mounts[camera] = self.create_publisher(TransformStamped, driver.extrinsics, LATCHED)
            self.pictures[camera] = [
                self.create_publisher(kind, topic, sensor("realtime"))
                for kind, topic in ((CameraInfo, driver.info), (Image, driver.color), (Image, driver.depth))
            ]

    def take(self) -> None:
        """What `policy_node` does with every message."""
        if (observation := self.topics.take(self.cadence.due)) is not None:
            self.cadence.use(observation.stamp)
            self.observations.append(observation)

    def heard_by(self, count: int) -> bool:
        """Whether each topic of the sensors has so many subscribers."""
        every = [
            self.joints,
            self.instruction,
            *self.mounts.values(),
            *(p for ps in self.pictures.values() for p in ps),
        ]
        return all(publisher.get_subscription_count() >= count for publisher in every)

    def show(self, camera: str, number: int, stamp: float) -> None:
        frame = f"{camera}_optical_frame"
        info, color, depth = self.pictures[camera]
        info.publish(convert.camera_info_from_intrinsics(INTRINSICS, SIZE, stamp, frame))
        color.publish(convert.image_from_rgb(np.full((*SIZE, 3), number, np.uint8), stamp, frame))
        depth.publish(convert.image_from_depth(np.full(SIZE, 1 + 0.01 * number, np.float32), stamp, frame))

    def play(self, begin: float) -> None:
        """An arm that turns before cameras, one of which is late."""
        for tick in range(TICKS):
            stamp = begin + PERIOD_S * tick
            self.joints.publish(convert.joint_state_from_arrays(joints(tick), 0 * SPEC.home, SPEC.joint_names, stamp))
            self.show("wrist", tick, stamp + WRIST_SKEW_S)
            if tick >= FRONT_LATE:
                self.show("front", tick - FRONT_LATE, stamp + FRONT_SKEW_S)
            self.listen(PERIOD_S)


def joints(tick: float) -> np.ndarray:
    positions = SPEC.home.copy()
    positions[0] += 0.01 * tick
    return positions


@dataclass(frozen=True)
class Run:
    """What was seen live, the bag of the same time, the calibration of both, and when it began."""

    live: list[Observation]
    bag: Path
    calibration: Path
    begin: float


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("calibrated")
    calibration = folder / "parameters.yaml"
    calibration.write_text(CALIBRATION)
    rclpy.init(args=["--ros-args", "-r", f"__ns:={NAMESPACE}", "--params-file", str(calibration)])
    node = LiveNode()
    try:
        options = (f"recording.folder:={folder / 'bags'}", "bag.min_free_mb:=1")
        with node_process("recorder_node", NAMESPACE, *options) as recorder:
            node.instruction.publish(String(data="turn"))
            for publisher in node.mounts.values():
                publisher.publish(convert.transform_from_mount(MOUNT, 0.0, "any"))
            node.wait_until(lambda: node.heard_by(2), PATIENCE_S, "node and recorder hear every topic")
            node.trigger("recorder_node/start", PATIENCE_S)
            begin = float(int(time.time()))
            node.play(begin)
            node.trigger("recorder_node/success", PATIENCE_S)
            recorder.send_signal(signal.SIGTERM)
            assert recorder.wait(30) == 0
        (bag,) = (folder / "bags").iterdir()
        yield Run(node.observations, bag, calibration, begin)
    finally:
        node.topics.destroy()
        node.end()
        rclpy.try_shutdown()


def test_converted_observations_are_bit_equal_to_those_of_a_live_node(run):
    calibrations = read_camera_parameters([run.calibration], CAMERAS, NAMESPACE)
    entries = BagEpisodes(run.bag, SPEC, get_drivers("panda"), CAMERAS, SYNC, HZ, NAMESPACE, calibrations)
    converted = {entry.observation.stamp: entry.observation for entry in entries if isinstance(entry, EpisodeFrame)}
    live = {observation.stamp: observation for observation in run.live}
    common = sorted(set(converted) & set(live))
    expected = (TICKS - FRONT_LATE) * PERIOD_S * HZ
    assert len(common) > 0.7 * expected, f"{sorted(converted)} converted, {sorted(live)} live"
    for stamp in common:
        one, other = converted[stamp], live[stamp]
        assert one.instruction == other.instruction
        np.testing.assert_array_equal(one.joint_positions, other.joint_positions)
        for camera in CAMERAS:
            for name in ("rgb", "depth", "intrinsics", "base_from_camera"):
                here, there = getattr(one.cameras[camera], name), getattr(other.cameras[camera], name)
                np.testing.assert_array_equal(here, there, err_msg=f"{camera} {name} at {stamp}")


def test_what_was_seen_at_one_time_is_joined_where_the_calibration_says(run):
    assert len(run.live) > 5
    kinematics, mount = Kinematics(SPEC), CameraConfig("hand", (0.05, 0.0, 0.04)).mount
    for observation in run.live:
        tick = round((observation.stamp - run.begin) / PERIOD_S)
        assert observation.stamp == pytest.approx(run.begin + tick * PERIOD_S + FRONT_SKEW_S, abs=1e-4)
        np.testing.assert_array_equal(observation.joint_positions, joints(tick))
        assert {view.rgb[0, 0, 0] for view in observation.cameras.values()} == {tick}
        # Between two joint states the arm has turned on, at 0.01 rad a period.
        seen_from = joints(tick + WRIST_SKEW_S / PERIOD_S)
        expected = camera_pose(kinematics, seen_from, mount)
        found = observation.cameras["wrist"].base_from_camera
        np.testing.assert_allclose(found, expected, atol=0.01 * WRIST_SKEW_S / PERIOD_S)
