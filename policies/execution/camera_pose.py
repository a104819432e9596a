"""Where a camera is, from the joints of the arm that carries it (or not) and its mounting."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policies.execution.kinematics import Kinematics
from policies.robots.camera_mount import CameraMount


def camera_pose(kinematics: Kinematics, joint_positions: ArrayLike, mount: CameraMount) -> NDArray[np.float64]:
    """Return the (4, 4) base_from_camera of the optical frame at joint positions (n,).

    The simulator and the policy's node both call this with the same numbers, so their extrinsics are bit-equal.

    Raises:
        ValueError: the robot has no frame `mount.parent_frame`, or the wrong number of joints.
    """
    parent_from_camera = np.eye(4)
    parent_from_camera[:3, :3] = _rotation(mount.quaternion_xyzw)
    parent_from_camera[:3, 3] = mount.position
    return kinematics.frame(joint_positions, mount.parent_frame) @ parent_from_camera


def _rotation(quaternion_xyzw: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, z, w = quaternion_xyzw / np.linalg.norm(quaternion_xyzw)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
