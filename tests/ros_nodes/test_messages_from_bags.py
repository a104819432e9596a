"""Messages that come from bags say the same as those that come from a graph."""

from __future__ import annotations

import numpy as np
import pytest
from rclpy.serialization import serialize_message

from policies.execution import sensor_messages
from policies.execution.joint_states import JointStates
from policies.robots import get_drivers, get_robot
from representation.data import camera_messages
from representation.data.bag_messages import decode, make
from ros_nodes import convert

SPEC = get_robot("panda")
GENERATOR = np.random.default_rng(0)


def from_bag(message: object, kind: str):
    """The message as a bag's reader gives it; a serialised message may be padded, as those on the wire are not."""
    data = serialize_message(message)
    for length in range(len(data), 3, -1):
        try:
            return decode(data[:length], kind)
        except ValueError:
            continue
    raise AssertionError(f"{kind} could not be decoded")


def image(encoding: str, pixels: np.ndarray, big_endian: bool = False, padding: int = 0):
    rows = pixels.reshape(pixels.shape[0], -1)
    data = rows.astype(rows.dtype.newbyteorder(">" if big_endian else "<")).view(np.uint8)
    data = np.pad(data, ((0, 0), (0, padding)))
    message = convert.Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=data.shape[1])
    message.is_bigendian = int(big_endian)
    message.data = data.tobytes()
    return message


@pytest.mark.parametrize(("encoding", "channels"), [("rgb8", 3), ("bgr8", 3), ("rgba8", 4), ("bgra8", 4), ("mono8", 1)])
@pytest.mark.parametrize("padding", [0, 5])
def test_colour(encoding, channels, padding):
    message = image(encoding, GENERATOR.integers(0, 256, (4, 6, channels)).astype(np.uint8), padding=padding)
    live, recorded = (camera_messages.rgb_from_image(m) for m in (message, from_bag(message, "sensor_msgs/msg/Image")))
    np.testing.assert_array_equal(live, recorded)
    assert recorded.dtype == np.uint8


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize(("encoding", "dtype"), [("16UC1", np.uint16), ("32FC1", np.float32)])
def test_depth(encoding, dtype, big_endian):
    metres = GENERATOR.uniform(0, 5, (4, 6)).astype(np.float32)
    pixels = (1000 * metres).astype(dtype) if encoding == "16UC1" else np.where(metres < 1, np.inf, metres)
    message = image(encoding, pixels.astype(dtype), big_endian)
    live, recorded = (
        camera_messages.depth_from_image(m) for m in (message, from_bag(message, "sensor_msgs/msg/Image"))
    )
    np.testing.assert_array_equal(live, recorded)
    assert recorded.dtype == np.float32


def test_joints_calibrations_mounts_and_trajectories():
    joints = convert.joint_state_from_arrays(SPEC.home, SPEC.home / 7, SPEC.joint_names[::-1], 12.3456789)
    recorded = from_bag(joints, "sensor_msgs/msg/JointState")
    assert sensor_messages.seconds(joints.header.stamp) == sensor_messages.seconds(recorded.header.stamp)
    live, from_recording = (JointStates(get_drivers("panda")).add(message) for message in (joints, recorded))
    np.testing.assert_array_equal(live.positions, from_recording.positions)
    np.testing.assert_array_equal(live.velocities, from_recording.velocities)
    info = convert.camera_info_from_intrinsics(np.array([[5.5, 0, 3], [0, 5.5, 2], [0, 0, 1]]), (4, 6), 1.0, "f")
    one, size = camera_messages.intrinsics_from_camera_info(info)
    other, recorded_size = camera_messages.intrinsics_from_camera_info(from_bag(info, "sensor_msgs/msg/CameraInfo"))
    np.testing.assert_array_equal(one, other)
    assert size == recorded_size
    mount = sensor_messages.CameraMount("hand", np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.5, -0.5, 0.5]))
    transform = convert.transform_from_mount(mount, 1.0, "f")
    found = sensor_messages.mount_from_transform(from_bag(transform, "geometry_msgs/msg/TransformStamped"))
    np.testing.assert_array_equal(found.position, mount.position)
    np.testing.assert_array_equal(found.quaternion_xyzw, mount.quaternion_xyzw)
    positions = GENERATOR.normal(size=(3, len(SPEC.home)))
    trajectory = sensor_messages.JointTrajectory(5.25, np.array([0.1, 0.2, 0.35]), positions, positions / 3)
    message = convert.message_from_trajectory(trajectory, SPEC.joint_names)
    found = sensor_messages.trajectory_from_message(
        from_bag(message, "trajectory_msgs/msg/JointTrajectory"), SPEC.joint_names
    )
    assert found.stamp == trajectory.stamp
    for name in ("times", "positions", "velocities"):
        np.testing.assert_array_equal(getattr(found, name), getattr(trajectory, name))


def test_a_message_of_another_type_is_refused():
    with pytest.raises((ValueError, AttributeError)):
        camera_messages.rgb_from_image(make("std_msgs/msg/String", data="x"))
