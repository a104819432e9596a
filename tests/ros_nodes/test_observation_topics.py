from __future__ import annotations

import re
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.context import Context

from policies.execution.camera_pose import CameraConfig, camera_pose
from policies.execution.kinematics import Kinematics
from policies.execution.observation_sync import SyncConfig
from policies.robots import get_drivers, get_robot
from policies.robots.camera_mount import CameraMount
from ros_nodes import convert
from ros_nodes.diagnostics import Level
from ros_nodes.observation_topics import ObservationTopics

SPEC = get_robot("panda")
MOUNT = CameraMount("hand", np.array([0.05, 0.0, 0.03]), np.array([0.0, 0.0, 0.0, 1.0]))
INFO = {"publication_sequence_number": 1}


@pytest.fixture
def topics() -> Iterator[ObservationTopics]:
    context = Context()
    rclpy.init(context=context)
    node = rclpy.create_node("listener", context=context)
    node.steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
    topics = ObservationTopics(
        node,
        SPEC,
        get_drivers("panda"),
        ("wrist",),
        "lockstep",
        SyncConfig(max_skew_s=0.0, max_age_s=60.0),
        lambda: None,
        lambda reason: None,
    )
    yield topics
    topics.destroy()
    node.destroy_node()
    context.try_shutdown()


def tell(topics: ObservationTopics, stamp: float, names: tuple[str, ...]) -> None:
    positions = np.array([SPEC.home[SPEC.joint_names.index(name)] for name in names])
    topics._on_joints(convert.joint_state_from_arrays(positions, np.zeros(len(names)), names, stamp), INFO)


def test_joint_states_in_parts_are_joined_by_name(topics):
    *arm, gripper = SPEC.joint_names
    for stamp in (2.0, 2.1):
        tell(topics, stamp, tuple(arm))
    assert topics.joint_log.take(3.0) is None
    assert {"joint_states never came", f"joints {gripper} never came"} <= set(topics.health().message.split("; "))
    tell(topics, 2.05, (gripper,))
    tell(topics, 2.1, (gripper,))
    assert topics.joint_log.take(3.0).stamps.tolist() == [2.05, 2.1]


def feed(topics: ObservationTopics, stamp: float) -> None:
    topics._on_instruction(SimpleNamespace(data="push"))
    sense(topics, stamp)


def sense(topics: ObservationTopics, stamp: float) -> None:
    topics._on_joints(
        convert.joint_state_from_arrays(SPEC.home, np.zeros(len(SPEC.home)), SPEC.joint_names, stamp), INFO
    )
    topics._on_color("wrist", convert.image_from_rgb(np.zeros((4, 6, 3), np.uint8), stamp, "f"), INFO)
    topics._on_depth("wrist", convert.image_from_depth(np.ones((4, 6), np.float32), stamp, "f"), INFO)
    intrinsics = np.array([[5.0, 0, 3], [0, 5, 2], [0, 0, 1]])
    topics._on_info("wrist", convert.camera_info_from_intrinsics(intrinsics, (4, 6), stamp, "f"), INFO)


def test_messages_become_an_observation_with_the_pose_of_a_camera_on_the_hand(topics):
    topics._on_mount("wrist", convert.transform_from_mount(MOUNT, 0.0, "wrist_optical_frame"), INFO)
    feed(topics, 1.5)
    observation = topics.take()
    assert (observation.stamp, observation.instruction) == (1.5, "push")
    np.testing.assert_array_equal(observation.joint_positions, SPEC.home)
    np.testing.assert_array_equal(
        observation.cameras["wrist"].base_from_camera, camera_pose(Kinematics(SPEC), SPEC.home, MOUNT)
    )
    assert topics.health().level is Level.OK


def test_an_observation_that_is_not_wanted_is_no_lack(topics):
    topics._on_mount("wrist", convert.transform_from_mount(MOUNT, 0.0, "wrist_optical_frame"), INFO)
    topics._taken_at = -1e9
    feed(topics, 1.5)
    assert topics.take(lambda stamp: False) is None
    assert topics.take() is None
    assert topics.health().level is Level.OK


def test_without_a_mount_there_is_no_observation_and_the_lack_is_named(topics):
    feed(topics, 1.5)
    assert topics.take() is None
    assert "wrist/extrinsics never came" in topics.health().message


def test_a_mount_may_come_as_a_static_transform(topics):
    transform = convert.transform_from_mount(MOUNT, 0.0, "wrist_optical_frame")
    other = convert.transform_from_mount(MOUNT, 0.0, "elsewhere")
    topics._on_static_transforms(SimpleNamespace(transforms=[other, transform]), INFO)
    feed(topics, 1.5)
    assert topics.take() is not None


def test_a_frame_that_moves_may_carry_a_camera(topics):
    onto_rail = CameraMount("rail", np.array([0.0, 0.0, 0.5]), np.array([0.0, 0.0, 0.0, 1.0]))
    camera = convert.transform_from_mount(onto_rail, 0.0, "wrist_optical_frame")
    topics._on_static_transforms(SimpleNamespace(transforms=[camera]), INFO)
    assert "lead elsewhere" in topics.health().message
    for stamp, x in ((1.0, 0.2), (2.0, 0.4)):
        rail = CameraMount(SPEC.base_frame, np.array([x, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 1.0]))
        hand = CameraMount("rail", np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]))  # the joints' business
        moving = [
            convert.transform_from_mount(rail, stamp, "rail"),
            convert.transform_from_mount(hand, stamp, "hand"),
            convert.transform_from_mount(hand, stamp, "wrist_optical_frame"),  # fixed already
        ]
        topics._on_transforms(SimpleNamespace(transforms=moving), INFO)
    feed(topics, 1.5)
    np.testing.assert_allclose(topics.take().cameras["wrist"].base_from_camera[:3, 3], [0.3, 0.0, 0.5])
    feed(topics, 2.5)
    assert topics.take() is None
    assert "poses of 'rail': expected a stamp from 1.000000 s to 2.000000 s" in topics.health().message


def test_a_mount_on_an_unknown_frame_is_named(topics):
    mount = CameraMount("tail", MOUNT.position, MOUNT.quaternion_xyzw)
    topics._on_mount("wrist", convert.transform_from_mount(mount, 0.0, "f"), INFO)
    feed(topics, 1.5)
    assert topics.take() is None
    assert "wrist/extrinsics lead elsewhere" in topics.health().message
    assert "found 'link0' and 'tail'" in topics.health().message


def test_images_of_different_sizes_are_named(topics):
    topics._on_mount("wrist", convert.transform_from_mount(MOUNT, 0.0, "wrist_optical_frame"), INFO)
    feed(topics, 1.5)
    topics._on_depth("wrist", convert.image_from_depth(np.ones((2, 3), np.float32), 1.5, "f"), INFO)
    assert topics.take() is None
    health = topics.health()
    assert health.level is Level.ERROR
    assert "camera 'wrist'" in health.message


def calibrated(config: CameraConfig, looks_back_s: float = 0.0) -> Iterator[ObservationTopics]:
    context = Context()
    rclpy.init(context=context)
    node = rclpy.create_node("listener", context=context)
    node.steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
    sync = SyncConfig(max_skew_s=0.0, max_age_s=60.0)
    try:
        yield ObservationTopics(
            node,
            SPEC,
            get_drivers(SPEC.name),
            ("wrist",),
            "lockstep",
            sync,
            lambda: None,
            lambda _: None,
            {"wrist": config},
            looks_back_s=looks_back_s,
        )
    finally:
        node.destroy_node()
        context.try_shutdown()


def test_a_calibrated_mount_and_latency_stand_in_for_the_topic_and_the_stamps():
    config = CameraConfig("hand", (0.01, 0.02, 0.03), (0.0, 0.0, 0.0, 1.0), latency_s=0.25)
    for topics in calibrated(config):
        # What a driver still tells is not believed.
        topics._on_mount("wrist", convert.transform_from_mount(MOUNT, 0.0, "wrist_optical_frame"), INFO)
        feed(topics, 1.5)
        assert topics.take() is None, "the joints of the capture's time did not come"
        topics._on_joints(
            convert.joint_state_from_arrays(SPEC.home, np.zeros(len(SPEC.home)), SPEC.joint_names, 1.25), INFO
        )
        feed(topics, 1.5)
        topics._on_joints(
            convert.joint_state_from_arrays(SPEC.home, np.zeros(len(SPEC.home)), SPEC.joint_names, 1.25), INFO
        )
        observation = topics.take()
        assert observation.stamp == 1.25
        np.testing.assert_array_equal(
            observation.cameras["wrist"].base_from_camera, camera_pose(Kinematics(SPEC), SPEC.home, config.mount)
        )
        values = topics.health().values()
        assert (values["wrist latency_s"], values["wrist mount"]) == ("0.250000", "parameters")


def test_a_policy_that_looks_back_gets_the_picture_before_but_not_of_the_time_before_a_new_instruction():
    for topics in calibrated(CameraConfig("hand"), looks_back_s=0.1):
        seen = []
        feed(topics, 1.0)
        seen.append(topics.take())
        sense(topics, 1.1)
        seen.append(topics.take())
        feed(topics, 1.2)
        seen.append(topics.take())
        assert [set(observation.earlier) for observation in seen] == [set(), {"wrist"}, set()]
        assert topics.health().values()["pictures without the one before"] == 2


def test_a_calibration_that_is_no_mount_is_refused_by_camera():
    config = CameraConfig("hand", quaternion_xyzw=(0.0, 0.0, 0.0, 2.0))
    with pytest.raises(ValueError, match=r"camera\.wrist: quaternion_xyzw"):
        next(calibrated(config))


def test_a_calibration_on_an_unknown_frame_leaves_the_camera_without_a_place():
    for topics in calibrated(CameraConfig("tail")):
        health = topics.health()
        assert health.level is Level.ERROR
        assert re.search("wrist/extrinsics lead elsewhere: .*'tail'", health.message)
