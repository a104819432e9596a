"""`CameraMount`: how a camera is fixed to a robot, or beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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

    @property
    def pose(self) -> NDArray[np.float64]:
        """(4, 4) parent_from_camera, the pose of the optical frame in the parent frame."""
        pose = np.eye(4)
        pose[:3, :3] = _rotation(self.quaternion_xyzw)
        pose[:3, 3] = self.position
        return pose


def _rotation(quaternion_xyzw: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, z, w = quaternion_xyzw / np.linalg.norm(quaternion_xyzw)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
