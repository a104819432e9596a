"""What messages of cameras say, as arrays: pure functions, without ROS, for live topics and for bags.

A message is any object with the fields of the ROS message that the function names: one of rclpy, or one read from a
bag. A stamp is float seconds of whole nanoseconds, so that equal message stamps are equal floats and a stamp survives
any number of trips. Every malformed message raises `ValueError` with what was expected and what came.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

NANOSECONDS = 1_000_000_000
_COLOUR_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
_DEPTH_TYPES: dict[str, np.dtype] = {"16UC1": np.dtype(np.uint16), "32FC1": np.dtype(np.float32)}
_METRES = np.arange(65536, dtype=np.float32) * np.float32(0.001)  # of the millimetres of a 16UC1 image
_METRES[0] = np.nan


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
        ValueError: see `depth_pixels`.
    """
    return metres(depth_pixels(message))


def depth_pixels(message: Any) -> NDArray[np.uint16] | NDArray[np.float32]:
    """Depth of a sensor_msgs/Image as it came, (H, W): uint16 millimetres or float32 metres.

    Raises:
        ValueError: the encoding is not 32FC1 (metres) or 16UC1 (millimetres), or the sizes do not fit the data.
    """
    item = _DEPTH_TYPES.get(message.encoding)
    if item is None:
        raise ValueError(
            f"depth image: expected encoding 32FC1 (metres) or 16UC1 (millimetres), found '{message.encoding}'"
        )
    return _pixels(message, item, 1)[:, :, 0]


def metres(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Metres, NaN where unknown, of `depth_pixels`."""
    if pixels.dtype.kind == "u":
        # No code is out of bounds: clipping leaves out the check, and takes half the time.
        return _METRES.take(pixels, mode="clip")
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
