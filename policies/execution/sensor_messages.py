"""What sensor and trajectory messages say, as arrays and dataclasses: pure functions, exact for float64, without ROS.

A message is any object with the fields of the ROS message that the function names: one of rclpy, or one read from a
bag. Units are SI; a stamp is float seconds of whole nanoseconds, so that equal message stamps are equal floats and a
stamp survives any number of trips. Joints are matched by name, never by place. Every malformed message raises
`ValueError` with what was expected and what came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.execution.trajectory import JointTrajectory
from policies.robots.camera_mount import CameraMount

NANOSECONDS = 1_000_000_000
_COLOUR_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
_DEPTH_TYPES: dict[str, np.dtype] = {"16UC1": np.dtype(np.uint16), "32FC1": np.dtype(np.float32)}


def seconds(stamp: Any) -> float:
    """Float seconds of a builtin_interfaces Time or Duration."""
    return (stamp.sec * NANOSECONDS + stamp.nanosec) / NANOSECONDS


def _pixels(message: Any, item: np.dtype, channels: int) -> NDArray:
    """View of the pixels, (H, W, channels), in the machine's byte order."""
    height, width, step = message.height, message.width, message.step
    row = width * channels * item.itemsize
    if height == 0 or width == 0:
        raise ValueError(f"image: expected at least one pixel, found {width} x {height}")
    if step < row:
        raise ValueError(f"image: expected a step of at least {row} bytes for {width} px, found {step}")
    if len(message.data) != step * height:
        raise ValueError(f"image: expected {step * height} bytes (step x height), found {len(message.data)}")
    if item.itemsize > 1:
        item = item.newbyteorder(">" if message.is_bigendian else "<")
    rows = np.frombuffer(message.data, dtype=np.uint8).reshape(height, step)[:, :row]
    pixels = np.ascontiguousarray(rows).view(item).reshape(height, width, channels)
    return pixels.astype(item.newbyteorder("="), copy=False)


def rgb_from_image(message: Any) -> NDArray[np.uint8]:
    """Colour of a sensor_msgs/Image as (H, W, 3) uint8 in the order red, green, blue.

    Raises:
        ValueError: the encoding is not one of rgb8, bgr8, rgba8, bgra8, mono8, or the sizes do not fit the data.
    """
    channels = _COLOUR_CHANNELS.get(message.encoding)
    if channels is None:
        raise ValueError(
            f"colour image: expected encoding {', '.join(_COLOUR_CHANNELS)}, found '{message.encoding}'; "
            "set the driver's colour format"
        )
    pixels = _pixels(message, np.dtype(np.uint8), channels)
    if channels == 1:
        return np.repeat(pixels, 3, axis=2)
    if message.encoding.startswith("bgr"):
        return np.ascontiguousarray(pixels[:, :, 2::-1])
    return np.ascontiguousarray(pixels[:, :, :3])


def depth_from_image(message: Any) -> NDArray[np.float32]:
    """Depth of a sensor_msgs/Image as (H, W) float32 metres along the optical axis, NaN where unknown (REP 118).

    Raises:
        ValueError: the encoding is not 32FC1 (metres) or 16UC1 (millimetres), or the sizes do not fit the data.
    """
    item = _DEPTH_TYPES.get(message.encoding)
    if item is None:
        raise ValueError(
            f"depth image: expected encoding 32FC1 (metres) or 16UC1 (millimetres), found '{message.encoding}'"
        )
    pixels = _pixels(message, item, 1)[:, :, 0]
    if item.kind == "u":
        metres = pixels.astype(np.float32) * np.float32(0.001)
        metres[pixels == 0] = np.nan
        return metres
    if np.isinf(pixels).any():
        return np.where(np.isinf(pixels), np.float32(np.nan), pixels)
    return pixels


def intrinsics_from_camera_info(message: Any) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Pinhole matrix (3, 3) in pixels of a sensor_msgs/CameraInfo, and the image's (height, width).

    Raises:
        ValueError: the camera is uncalibrated (k[0] = 0), distorted, binned or cropped: rectify such images first.
    """
    matrix = np.array(message.k, dtype=np.float64).reshape(3, 3)
    if not (matrix[0, 0] > 0 and matrix[1, 1] > 0 and np.isfinite(matrix).all()):
        raise ValueError(f"camera_info: expected a calibrated camera (k[0] > 0), found k = {list(message.k)}")
    if any(value != 0 for value in message.d):
        raise ValueError(f"camera_info: expected a rectified image (d = 0), found d = {list(message.d)}")
    if message.binning_x > 1 or message.binning_y > 1 or message.roi.width or message.roi.height:
        raise ValueError("camera_info: expected the full image, found binning or a region of interest")
    return matrix, (message.height, message.width)


def _places(found: Sequence[str], joint_names: Sequence[str], what: str) -> list[int]:
    """Place in `found` of each of `joint_names`."""
    if len(set(found)) != len(found):
        raise ValueError(f"{what}: expected each joint once, found {list(found)}")
    missing = [name for name in joint_names if name not in found]
    if missing:
        raise ValueError(f"{what}: expected joints {list(joint_names)}, missing {missing}, found {list(found)}")
    return [found.index(name) for name in joint_names]


def joints_from_joint_state(
    message: Any, joint_names: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions and velocities of a sensor_msgs/JointState, each (n,) in the order of `joint_names`.

    Raises:
        ValueError: a joint is missing or double, positions or velocities do not fit the names, or are not finite.
    """
    names = list(message.name)
    places = _places(names, joint_names, "joint_state")
    values = []
    for label, sequence in (("positions", message.position), ("velocities", message.velocity)):
        if len(sequence) != len(names):
            raise ValueError(f"joint_state: expected {len(names)} {label}, found {len(sequence)}")
        selected = np.asarray(sequence, dtype=np.float64)[places]
        if not np.isfinite(selected).all():
            bad = [name for name, value in zip(joint_names, selected, strict=True) if not np.isfinite(value)]
            raise ValueError(f"joint_state: expected finite {label}, found others for {bad}")
        values.append(selected)
    return values[0], values[1]


def trajectory_from_message(message: Any, joint_names: Sequence[str]) -> JointTrajectory:
    """`JointTrajectory` of a trajectory_msgs/JointTrajectory, in the order of `joint_names`.

    Values may be non-finite: the safety filter rejects those.

    Raises:
        ValueError: a joint is missing, double or unknown, there is no point, a point lacks positions or velocities, or
            the times do not increase.
    """
    names = list(message.joint_names)
    places = _places(names, joint_names, "trajectory")
    unknown = [name for name in names if name not in joint_names]
    if unknown:
        raise ValueError(f"trajectory: expected joints {list(joint_names)}, found also {unknown}")
    if not message.points:
        raise ValueError("trajectory: expected at least one point, found none")
    for index, point in enumerate(message.points):
        if len(point.positions) != len(names) or len(point.velocities) != len(names):
            raise ValueError(
                f"trajectory: expected {len(names)} positions and velocities in each point, found "
                f"{len(point.positions)} and {len(point.velocities)} in point {index}"
            )
        count = len(point.accelerations)
        if count != len(message.points[0].accelerations) or count not in (0, len(names)):
            raise ValueError(
                f"trajectory: expected {len(names)} accelerations in each point or none, found {count} in point {index}"
            )
    accelerations = None
    if len(message.points[0].accelerations):
        accelerations = np.array([point.accelerations for point in message.points], dtype=np.float64)[:, places]
    return JointTrajectory(
        stamp=seconds(message.header.stamp),
        times=np.array([seconds(point.time_from_start) for point in message.points]),
        positions=np.array([point.positions for point in message.points], dtype=np.float64)[:, places],
        velocities=np.array([point.velocities for point in message.points], dtype=np.float64)[:, places],
        accelerations=accelerations,
    )


def mount_from_transform(message: Any) -> CameraMount:
    """Where a geometry_msgs/TransformStamped fixes a camera's optical frame: parent frame, position (m), rotation.

    Raises:
        ValueError: a value is not finite, the quaternion's length is not 1, or the parent frame has no name.
    """
    if not message.header.frame_id:
        raise ValueError("transform: expected the parent frame in header.frame_id, found none")
    place, turn = message.transform.translation, message.transform.rotation
    return CameraMount(
        message.header.frame_id,
        np.array([place.x, place.y, place.z]),
        np.array([turn.x, turn.y, turn.z, turn.w]),
    )
