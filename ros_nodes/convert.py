"""Arrays and dataclasses to messages: pure functions, exact for float64, no graph needed.

The way back, which bags need without ROS, is `policies/execution/sensor_messages.py` and, for cameras,
`representation/data/camera_messages.py`; nodes import all of it from here. Joint states are read by
`policies/execution/joint_states.py`.
"""

from __future__ import annotations

import array
import math
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image, JointState
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage
from trajectory_msgs.msg import JointTrajectoryPoint

from policies.execution.sensor_messages import (
    mount_from_transform,
    trajectory_from_message,
)
from policies.execution.trajectory import JointTrajectory
from policies.robots.camera_mount import CameraMount
from representation.data.camera_messages import (
    NANOSECONDS,
    depth_from_image,
    intrinsics_from_camera_info,
    rgb_from_image,
    seconds,
)

__all__ = [
    "camera_info_from_intrinsics",
    "depth_from_image",
    "image_from_depth",
    "image_from_rgb",
    "intrinsics_from_camera_info",
    "joint_state_from_arrays",
    "message_from_trajectory",
    "mount_from_transform",
    "rgb_from_image",
    "seconds",
    "to_duration",
    "to_time",
    "trajectory_from_message",
    "transform_from_mount",
]


def _whole_nanoseconds(value: float) -> tuple[int, int]:
    if not math.isfinite(value):
        raise ValueError(f"time: expected finite seconds, found {value}")
    whole = math.floor(value)
    # The fraction is taken apart first: seconds since 1970 times 1e9 would lose hundreds of nanoseconds.
    return divmod(whole * NANOSECONDS + round((value - whole) * NANOSECONDS), NANOSECONDS)


def to_time(value: float) -> Time:
    """Message stamp of float seconds, rounded to whole nanoseconds."""
    whole, nanoseconds = _whole_nanoseconds(value)
    return Time(sec=whole, nanosec=nanoseconds)


def to_duration(value: float) -> Duration:
    """Message duration of float seconds, rounded to whole nanoseconds."""
    whole, nanoseconds = _whole_nanoseconds(value)
    return Duration(sec=whole, nanosec=nanoseconds)


def image_from_rgb(rgb: NDArray[np.uint8], stamp: float, frame: str) -> Image:
    """rgb8 message of a (H, W, 3) uint8 image."""
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"rgb: expected (H, W, 3) uint8, found {rgb.shape} {rgb.dtype}")
    return _image(rgb, "rgb8", stamp, frame)


def image_from_depth(depth: NDArray[np.float32], stamp: float, frame: str) -> Image:
    """32FC1 message of a (H, W) float32 depth image in metres, NaN where unknown."""
    if depth.dtype != np.float32 or depth.ndim != 2:
        raise ValueError(f"depth: expected (H, W) float32, found {depth.shape} {depth.dtype}")
    return _image(depth, "32FC1", stamp, frame)


def _image(pixels: NDArray, encoding: str, stamp: float, frame: str) -> Image:
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, is_bigendian=0)
    message.header.stamp = to_time(stamp)
    message.header.frame_id = frame
    message.step = pixels.nbytes // pixels.shape[0]
    # An array.array passes the message's setter whole; any other sequence is checked element by element.
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)).tobytes())
    message.data = data
    return message


def camera_info_from_intrinsics(
    intrinsics: NDArray[np.float64], size: tuple[int, int], stamp: float, frame: str
) -> CameraInfo:
    """CameraInfo of an undistorted camera; `intrinsics` (3, 3) pixels, `size` (height, width)."""
    message = CameraInfo(height=size[0], width=size[1], distortion_model="plumb_bob", d=[0.0] * 5)
    message.header.stamp = to_time(stamp)
    message.header.frame_id = frame
    message.k = intrinsics.astype(np.float64).reshape(9)
    message.r = np.eye(3).reshape(9)
    message.p = np.hstack([intrinsics.astype(np.float64), np.zeros((3, 1))]).reshape(12)
    return message


def joint_state_from_arrays(
    positions: NDArray[np.float64], velocities: NDArray[np.float64], joint_names: Sequence[str], stamp: float
) -> JointState:
    """JointState of (n,) positions and velocities in the order of `joint_names`."""
    message = JointState(name=list(joint_names))
    message.header.stamp = to_time(stamp)
    message.position = array.array("d", positions)
    message.velocity = array.array("d", velocities)
    return message


def message_from_trajectory(trajectory: JointTrajectory, joint_names: Sequence[str]) -> JointTrajectoryMessage:
    """JointTrajectory message, one point per knot; times are rounded to whole nanoseconds."""
    message = JointTrajectoryMessage(joint_names=list(joint_names))
    message.header.stamp = to_time(trajectory.stamp)
    for k, time in enumerate(trajectory.times):
        point = JointTrajectoryPoint(time_from_start=to_duration(float(time)))
        point.positions = array.array("d", trajectory.positions[k])
        point.velocities = array.array("d", trajectory.velocities[k])
        if trajectory.accelerations is not None:
            point.accelerations = array.array("d", trajectory.accelerations[k])
        message.points.append(point)
    return message


def transform_from_mount(mount: CameraMount, stamp: float, frame: str) -> TransformStamped:
    """Transform from a mount's parent frame to the camera's optical frame `frame`."""
    message = TransformStamped(child_frame_id=frame)
    message.header.stamp = to_time(stamp)
    message.header.frame_id = mount.parent_frame
    place, turn = message.transform.translation, message.transform.rotation
    place.x, place.y, place.z = (float(value) for value in mount.position)
    turn.x, turn.y, turn.z, turn.w = (float(value) for value in mount.quaternion_xyzw)
    return message
