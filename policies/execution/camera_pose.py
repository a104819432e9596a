"""Where a camera is, from the joints of the arm that carries it (or not) and its mounting."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policies.execution.kinematics import Kinematics
from policies.robots.camera_mount import UNIT_TOLERANCE, CameraMount


@dataclass(frozen=True, slots=True)
class CameraConfig:
    """What a calibration says of one camera.

    Attributes:
        parent_frame: body or site of the robot that carries the camera; empty where its mount comes by topic.
        position: m, origin of the optical frame in the parent frame.
        quaternion_xyzw: orientation of the optical frame in the parent frame.
        latency_s: how much later than their capture its images are stamped; taken off the stamps.
    """

    parent_frame: str = ""
    position: tuple[float, float, float] = field(default=(0.0, 0.0, 0.0), metadata={"range": (-100.0, 100.0)})
    quaternion_xyzw: tuple[float, float, float, float] = field(
        default=(0.0, 0.0, 0.0, 1.0), metadata={"range": (-1.0 - UNIT_TOLERANCE, 1.0 + UNIT_TOLERANCE)}
    )
    latency_s: float = field(default=0.0, metadata={"range": (-1.0, 1.0)})

    @property
    def mount(self) -> CameraMount | None:
        """The mount, if a parent frame is named.

        Raises:
            ValueError: the position or quaternion is none.
        """
        if not self.parent_frame:
            return None
        return CameraMount(self.parent_frame, np.array(self.position), np.array(self.quaternion_xyzw))


def camera_pose(kinematics: Kinematics, joint_positions: ArrayLike, mount: CameraMount) -> NDArray[np.float64]:
    """Return the (4, 4) base_from_camera of the optical frame at joint positions (n,).

    The simulator and the policy's node both call this with the same numbers, so their extrinsics are bit-equal.

    Raises:
        ValueError: the robot has no frame `mount.parent_frame`, or the wrong number of joints.
    """
    return kinematics.frame(joint_positions, mount.parent_frame) @ mount.pose
