"""`NeededInputs`: what a policy reads of a frame beside its picture and its instruction, by how it is configured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from policies.spatialvla.config import SpatialVLAConfig

Calibration = Literal["true", "unified"]


@dataclass(frozen=True)
class NeededInputs:
    """What must be known of a frame.

    Attributes:
        depth: the depth camera's image.
        intrinsics: the camera's own matrix.
        camera_pose: where the camera is in the base frame.
        joints: joint positions.
    """

    depth: bool
    intrinsics: bool
    camera_pose: bool
    joints: bool


def needed_inputs(config: SpatialVLAConfig, intrinsics: Calibration) -> NeededInputs:
    """What a network reads with the camera's own calibration ("true") or one for all cameras ("unified")."""
    about_tool = config.use_ego3d and config.point_frame == "tool"
    return NeededInputs(
        depth=config.use_ego3d and not config.use_vision_zoe,
        intrinsics=config.use_ego3d and intrinsics == "true",
        camera_pose=about_tool,
        joints=about_tool or config.state_dim > 0,
    )
