"""Where a camera is, from the joints of the arm that carries it (or not) and its mounting."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policies.execution.kinematics import Kinematics

UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class CameraMount:
    """How a camera is fixed, as `geometry_msgs/TransformStamped` carries it.

    Attributes:
        parent_frame: body or site of the robot that carries the camera; the base frame for a camera that stands still.
        position: (3,) m, origin of the optical frame (REP 103) in the parent frame.
        quaternion_xyzw: (4,) unit quaternion, orientation of the optical frame in the parent frame.
    """

    parent_frame: str
    position: NDArray[np.float64]
    quaternion_xyzw: NDArray[np.float64]

    def __post_init__(self) -> None:
        position = np.asarray(self.position, dtype=np.float64)
        quaternion = np.asarray(self.quaternion_xyzw, dtype=np.float64)
        if position.shape != (3,) or not np.isfinite(position).all():
            raise ValueError(f"position: expected 3 finite values, found {position}")
        # Written so that NaN is refused as well.
        if quaternion.shape != (4,) or not abs(np.linalg.norm(quaternion) - 1.0) <= UNIT_TOLERANCE:
            raise ValueError(f"quaternion_xyzw: expected 4 values of norm 1, found {quaternion}")
        object.__setattr__(self, "position", position)
        object.__setattr__(self, "quaternion_xyzw", quaternion)


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
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    quaternion_xyzw: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)
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
