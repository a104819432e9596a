"""What messages of mounts and commands say: pure functions, exact for float64, without ROS.

Those of cameras are read by `representation/data/camera_messages.py`, those of joints by `joint_states.py`.

A message is any object with the fields of the ROS message that the function names: one of rclpy, or one read from a
bag. Units are SI. Joints are matched by name, never by place. Every malformed message raises `ValueError` with what
was expected and what came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from policies.execution.trajectory import JointTrajectory
from policies.robots.camera_mount import CameraMount
from representation.data.camera_messages import seconds


def _places(found: Sequence[str], joint_names: Sequence[str]) -> list[int]:
    """Place in `found` of each of `joint_names`."""
    if len(set(found)) != len(found):
        raise ValueError(f"trajectory: expected each joint once, found {list(found)}")
    missing = [name for name in joint_names if name not in found]
    if missing:
        raise ValueError(f"trajectory: expected joints {list(joint_names)}, missing {missing}, found {list(found)}")
    return [found.index(name) for name in joint_names]


def trajectory_from_message(message: Any, joint_names: Sequence[str]) -> JointTrajectory:
    """`JointTrajectory` of a trajectory_msgs/JointTrajectory, in the order of `joint_names`.

    Values may be non-finite: the safety filter rejects those.

    Raises:
        ValueError: a joint is missing, double or unknown, there is no point, a point lacks positions or velocities, or
            the times do not increase.
    """
    names = list(message.joint_names)
    places = _places(names, joint_names)
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
