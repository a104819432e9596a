"""Messages to arrays and dataclasses, and back: pure functions, exact for float64, no graph needed.

Units are SI; a stamp is float seconds of whole nanoseconds, so that equal message stamps are equal floats and a stamp
survives any number of trips. Joints are matched by name, never by place. Every malformed message raises `ValueError`
with what was expected and what came.
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

from policies.execution.camera_pose import CameraMount
from policies.execution.trajectory import JointTrajectory

NANOSECONDS = 1_000_000_000
_COLOUR_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
_DEPTH_TYPES: dict[str, np.dtype] = {"16UC1": np.dtype(np.uint16), "32FC1": np.dtype(np.float32)}


def seconds(stamp: Time | Duration) -> float:
    """Float seconds of a message stamp or duration."""
    return (stamp.sec * NANOSECONDS + stamp.nanosec) / NANOSECONDS


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


def _pixels(message: Image, item: np.dtype, channels: int) -> NDArray:
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


def rgb_from_image(message: Image) -> NDArray[np.uint8]:
    """Colour image as (H, W, 3) uint8 in the order red, green, blue.

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


def depth_from_image(message: Image) -> NDArray[np.float32]:
    """Depth image as (H, W) float32 metres along the optical axis, NaN where unknown (REP 118).

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


def intrinsics_from_camera_info(message: CameraInfo) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Pinhole matrix (3, 3) in pixels and the image's (height, width).

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


def _places(found: Sequence[str], joint_names: Sequence[str], what: str) -> list[int]:
    """Place in `found` of each of `joint_names`."""
    if len(set(found)) != len(found):
        raise ValueError(f"{what}: expected each joint once, found {list(found)}")
    missing = [name for name in joint_names if name not in found]
    if missing:
        raise ValueError(f"{what}: expected joints {list(joint_names)}, missing {missing}, found {list(found)}")
    return [found.index(name) for name in joint_names]


def joints_from_joint_state(
    message: JointState, joint_names: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions and velocities, each (n,) in the order of `joint_names`; joints of other names are left out.

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


def joint_state_from_arrays(
    positions: NDArray[np.float64], velocities: NDArray[np.float64], joint_names: Sequence[str], stamp: float
) -> JointState:
    """JointState of (n,) positions and velocities in the order of `joint_names`."""
    message = JointState(name=list(joint_names))
    message.header.stamp = to_time(stamp)
    message.position = array.array("d", positions)
    message.velocity = array.array("d", velocities)
    return message


def trajectory_from_message(message: JointTrajectoryMessage, joint_names: Sequence[str]) -> JointTrajectory:
    """`JointTrajectory` in the order of `joint_names`; values may be non-finite, the safety filter rejects those.

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
        if len(point.accelerations) != len(message.points[0].accelerations) or len(point.accelerations) not in (
            0,
            len(names),
        ):
            raise ValueError(
                f"trajectory: expected {len(names)} accelerations in each point or none, found "
                f"{len(point.accelerations)} in point {index}"
            )
    return JointTrajectory(
        stamp=seconds(message.header.stamp),
        times=np.array([seconds(point.time_from_start) for point in message.points]),
        positions=np.array([point.positions for point in message.points], dtype=np.float64)[:, places],
        velocities=np.array([point.velocities for point in message.points], dtype=np.float64)[:, places],
        accelerations=(
            np.array([point.accelerations for point in message.points], dtype=np.float64)[:, places]
            if message.points[0].accelerations
            else None
        ),
    )


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


def mount_from_transform(message: TransformStamped) -> CameraMount:
    """Where a camera's optical frame is fixed: parent frame, position (m), rotation.

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


def transform_from_mount(mount: CameraMount, stamp: float, frame: str) -> TransformStamped:
    """Transform from a mount's parent frame to the camera's optical frame `frame`."""
    message = TransformStamped(child_frame_id=frame)
    message.header.stamp = to_time(stamp)
    message.header.frame_id = mount.parent_frame
    place, turn = message.transform.translation, message.transform.rotation
    place.x, place.y, place.z = (float(value) for value in mount.position)
    turn.x, turn.y, turn.z, turn.w = (float(value) for value in mount.quaternion_xyzw)
    return message
