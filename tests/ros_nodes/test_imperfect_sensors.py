from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from policies.execution.joint_states import JointStates
from policies.robots import get_drivers
from ros_nodes.controllers import joint_state_message
from ros_nodes.convert import (
    camera_info_from_intrinsics,
    depth_from_image,
    image_from_depth,
    image_from_rgb,
    rgb_from_image,
    seconds,
)
from ros_nodes.delay_line import DelayLine
from ros_nodes.imperfect_sensors import ImperfectSensors
from ros_nodes.imperfections import Imperfections
from ros_nodes.sensor_topics import Frame

DRIVERS = get_drivers("panda")
POSITIONS, VELOCITIES = np.arange(8) / 10, np.arange(8) / 100
INTRINSICS = np.array([[20.0, 0, 4], [0, 20, 3], [0, 0, 1]])
DEPTH = np.linspace(0.5, 1.5, 48, dtype=np.float32).reshape(6, 8)
PATIENCE_S = 20.0


class Topics:
    """Takes what would be published."""

    def __init__(self) -> None:
        self.joints, self.frames, self.clock = [], [], []
        self.arrived: list[float] = []

    def joint_state(self, positions, velocities, at):
        return joint_state_message(positions, velocities, DRIVERS, at)

    def frame(self, name, rgb, depth, intrinsics, at):
        return Frame(
            camera_info_from_intrinsics(intrinsics, rgb.shape[:2], at, name),
            image_from_rgb(rgb, at, name),
            image_from_depth(depth, at, name),
        )

    def send_joints(self, message):
        self.arrived.append(time.monotonic())
        self.joints.append(message)

    def send_frame(self, name, frame):
        self.frames.append((name, frame))

    def publish_joints(self, *values):
        self.send_joints(self.joint_state(*values))

    def publish_camera(self, name, *values):
        self.send_frame(name, self.frame(name, *values))

    def publish_clock(self, at):
        self.clock.append(at)


class Rig:
    """Sensors that are disturbed before their topics."""

    def __init__(self, **wrong) -> None:
        self.topics, self.truth = Topics(), []
        self.line = DelayLine(failed=self._failed)
        self.sensors = ImperfectSensors(self.topics, self.line, lambda *values: self.truth.append(values))
        self.sensors.set(Imperfections(**wrong))

    def _failed(self, error):
        raise error

    def joints(self, at=1.0):
        self.sensors.publish_joints(POSITIONS, VELOCITIES, at)

    def picture(self, name="front", at=1.0, value=7):
        self.sensors.publish_camera(name, np.full((6, 8, 3), value, np.uint8), DEPTH, INTRINSICS, at)

    def wait(self, count):
        limit = time.monotonic() + PATIENCE_S
        while len(self.topics.joints) + len(self.topics.frames) < count:
            assert time.monotonic() < limit
            time.sleep(0.005)


@pytest.fixture
def rig():
    made = []

    def make(**wrong):
        made.append(Rig(**wrong))
        return made[-1]

    yield make
    for one in made:
        one.line.stop()


def test_without_imperfections_all_goes_on_at_once_and_no_thread_is_started(rig):
    threads = threading.active_count()
    perfect = rig()
    perfect.joints()
    perfect.picture()
    perfect.sensors.publish_clock(2.0)
    np.testing.assert_array_equal(JointStates(DRIVERS).add(perfect.topics.joints[0]).positions, POSITIONS)
    assert perfect.topics.frames[0][0] == "front"
    assert perfect.topics.clock == [2.0]
    assert threading.active_count() == threads


def test_everything_that_is_wrong_leaves_the_truth_alone(rig):
    wrong = rig(joints_stopped=True, joint_stamp_offset_s=5.0, clock_paused=True)
    wrong.joints(at=3.0)
    wrong.sensors.publish_clock(3.0)
    assert wrong.topics.joints == wrong.topics.clock == []
    assert wrong.truth[0][2] == 3.0


def test_latency_delays_and_keeps_order_and_stamps(rig):
    late = rig(latency_s=0.1, jitter_s=0.1)
    begin = time.monotonic()
    for k in range(20):
        late.joints(at=float(k))
    late.wait(20)
    assert min(late.topics.arrived) - begin >= 0.1
    assert [seconds(message.header.stamp) for message in late.topics.joints] == [float(k) for k in range(20)]


def test_the_late_camera_alone_is_late(rig):
    late = rig(late_camera="front", late_camera_s=0.5)
    late.picture("front")
    late.picture("wrist")
    assert [name for name, _ in late.topics.frames] == ["wrist"]
    late.wait(2)


def test_shares_are_lost_and_the_seed_decides_which(rig):
    def received(seed):
        lossy = rig(image_loss=0.3, joint_state_loss=0.6, seed=seed)
        for k in range(500):
            lossy.joints(at=float(k))
            lossy.picture(at=float(k))
        stamps = [seconds(message.header.stamp) for message in lossy.topics.joints]
        return stamps, len(lossy.topics.frames)

    stamps, frames = received(1)
    assert len(stamps) / 500 == pytest.approx(0.4, abs=0.1)
    assert frames / 500 == pytest.approx(0.7, abs=0.1)
    assert received(1)[0] == stamps
    assert received(2)[0] != stamps


def test_a_stopped_camera_is_silent_and_the_others_go_on(rig):
    wrong = rig(stopped_cameras=("front",))
    wrong.picture("front")
    wrong.picture("wrist")
    assert [name for name, _ in wrong.topics.frames] == ["wrist"]


def test_a_frozen_camera_sends_its_last_picture_with_new_stamps_until_it_is_mended(rig):
    wrong = rig(frozen_cameras=("front",))
    for k in range(3):
        wrong.picture(at=float(k), value=k)
    wrong.sensors.set(Imperfections())
    wrong.picture(at=3.0, value=3)
    frames = [frame for _, frame in wrong.topics.frames]
    assert [int(rgb_from_image(frame.color)[0, 0, 0]) for frame in frames] == [0, 0, 0, 3]
    assert [seconds(frame.color.header.stamp) for frame in frames] == [0.0, 1.0, 2.0, 3.0]


def test_stamps_are_offset_of_cameras_and_joints_apart(rig):
    wrong = rig(camera_stamp_offset_s=-2.0, joint_stamp_offset_s=5.0)
    wrong.joints(at=10.0)
    wrong.picture(at=10.0)
    frame = wrong.topics.frames[0][1]
    assert seconds(wrong.topics.joints[0].header.stamp) == 15.0
    assert {seconds(part.header.stamp) for part in (frame.info, frame.color, frame.depth)} == {8.0}


def test_reversed_joints_mean_the_same(rig):
    wrong = rig(joints_reversed=True)
    wrong.joints()
    message = wrong.topics.joints[0]
    assert list(message.name) == list(DRIVERS.joint_names)[::-1]
    found = JointStates(DRIVERS).add(message)
    np.testing.assert_array_equal(found.positions, POSITIONS)
    np.testing.assert_array_equal(found.velocities, VELOCITIES)


@pytest.mark.parametrize(
    ("wrong", "cause"), [({"image_encoding": "yuv422"}, "found 'yuv422'"), ({"image_step": 5}, "found 5")]
)
def test_a_misdescribed_image_is_refused_by_readers(rig, wrong, cause):
    misdescribed = rig(**wrong)
    misdescribed.picture()
    with pytest.raises(ValueError, match=cause):
        rgb_from_image(misdescribed.topics.frames[0][1].color)


def test_the_wrong_byte_order_spoils_depth_and_leaves_colour(rig):
    wrong = rig(image_bigendian=True)
    wrong.picture()
    frame = wrong.topics.frames[0][1]
    assert (rgb_from_image(frame.color) == 7).all()
    np.testing.assert_array_equal(depth_from_image(frame.depth).byteswap(), DEPTH)
