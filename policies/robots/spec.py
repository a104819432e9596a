"""`RobotSpec`: what the stack must know of an arm, with or without a simulator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class RobotSpec:
    """Joints, limits, frames and model of one robot.

    All (n,) arrays follow `joint_names`: the arm's joints from base to flange, then the gripper joint.

    Attributes:
        name: registry name.
        joint_names: n names as in the MJCF and in `sensor_msgs/JointState`.
        arm_dof: number of arm joints; joint `arm_dof` is the gripper.
        lower: (n,) position limits, rad (m).
        upper: (n,) position limits, rad (m).
        max_velocity: (n,) rad/s (m/s).
        max_acceleration: (n,) rad/s^2 (m/s^2).
        max_jerk: (n,) rad/s^3 (m/s^3).
        max_torque: (n,) N m (N).
        home: (n,) rest configuration.
        base_frame: name of the frame that poses are given in.
        tool_site: MJCF site (and frame) of the tool centre point, between the fingertips, z along the approach.
        workspace_low: (3,) m, lower corner of the box that the tool may enter, in the base frame.
        workspace_high: (3,) m, upper corner.
        model_path: MJCF file of the bare robot.
    """

    name: str
    joint_names: tuple[str, ...]
    arm_dof: int
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    max_velocity: NDArray[np.float64]
    max_acceleration: NDArray[np.float64]
    max_jerk: NDArray[np.float64]
    max_torque: NDArray[np.float64]
    home: NDArray[np.float64]
    base_frame: str
    tool_site: str
    workspace_low: NDArray[np.float64]
    workspace_high: NDArray[np.float64]
    model_path: Path

    def __post_init__(self) -> None:
        count = len(self.joint_names)
        if self.arm_dof != count - 1:
            raise ValueError(f"arm_dof: expected {count - 1} (one gripper joint after the arm), found {self.arm_dof}")
        for name in ("lower", "upper", "max_velocity", "max_acceleration", "max_jerk", "max_torque", "home"):
            value = np.asarray(getattr(self, name), dtype=np.float64)
            if value.shape != (count,) or not np.isfinite(value).all():
                raise ValueError(f"{name}: expected {count} finite values, found {value}")
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        if not (self.lower < self.upper).all():
            raise ValueError(f"lower: expected below upper {self.upper}, found {self.lower}")
        if not ((self.home >= self.lower) & (self.home <= self.upper)).all():
            raise ValueError(f"home: expected within the limits, found {self.home}")

    def gripper_position(self, opening: float) -> float:
        """Gripper joint position (m) of an opening from 0 (closed) to 1 (open)."""
        low, high = self.lower[self.arm_dof], self.upper[self.arm_dof]
        return float(low + np.clip(opening, 0.0, 1.0) * (high - low))

    def gripper_opening(self, position: float) -> float:
        """Opening from 0 (closed) to 1 (open) of a gripper joint position (m)."""
        low, high = self.lower[self.arm_dof], self.upper[self.arm_dof]
        return float(np.clip((position - low) / (high - low), 0.0, 1.0))
