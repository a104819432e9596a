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
    return kinematics.frame(joint_positions, mount.parent_frame) @ mount.pose
