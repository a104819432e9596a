"""`RobotSpec`: what the stack must know of a robot with one or more arms, with or without a simulator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm with its gripper.

    Attributes:
        name: such as `left_arm`.
        joints: places of its joints in `RobotSpec.joint_names`, from base to flange.
        gripper: place of its gripper joint.
        tool_site: MJCF site (and frame) of the tool centre point, between the fingertips, z along the approach, y along
            the fingers' motion.
        hand_bodies: MJCF bodies that touch what the hand holds: palm and fingers.
        second_finger: MJCF joint of the finger that moves with the gripper joint; None where there is only one.
        workspace_low: (3,) m, lower corner of the box that the tool may enter, in the base frame.
        workspace_high: (3,) m, upper corner.
    """

    name: str
    joints: tuple[int, ...]
    gripper: int
    tool_site: str
    hand_bodies: tuple[str, ...]
    second_finger: str | None
    workspace_low: NDArray[np.float64]
    workspace_high: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RobotSpec:
    """Joints, limits, frames and model of one robot.

    All (n,) arrays follow `joint_names`: arm after arm, its joints from base to flange, then its gripper joint.

    Attributes:
        name: of the robot; policies are trained for it.
        joint_names: n names as in the MJCF and in `sensor_msgs/JointState`; its actuators come in the same order.
        arms: one or more.
        lower: (n,) position limits, rad (m).
        upper: (n,) position limits, rad (m).
        max_velocity: (n,) rad/s (m/s).
        max_acceleration: (n,) rad/s^2 (m/s^2).
        max_jerk: (n,) rad/s^3 (m/s^3).
        max_torque: (n,) N m (N).
        home: (n,) rest configuration.
        base_frame: name of the frame that poses are given in.
        control_hz: rows of targets per second, where nothing else is asked for.
        model_path: MJCF file of the bare robot.
    """

    name: str
    joint_names: tuple[str, ...]
    arms: tuple[Arm, ...]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    max_velocity: NDArray[np.float64]
    max_acceleration: NDArray[np.float64]
    max_jerk: NDArray[np.float64]
    max_torque: NDArray[np.float64]
    home: NDArray[np.float64]
    base_frame: str
    control_hz: float
    model_path: Path

    def __post_init__(self) -> None:
        count = len(self.joint_names)
        places = [place for arm in self.arms for place in (*arm.joints, arm.gripper)]
        if places != list(range(count)):
            raise ValueError(f"arms: expected the joints 0 to {count - 1}, each gripper after its arm, found {places}")
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

    @property
    def arm_joints(self) -> NDArray[np.intp]:
        """Places of all joints but the grippers."""
        return np.array([joint for arm in self.arms for joint in arm.joints])

    @property
    def grippers(self) -> NDArray[np.intp]:
        """(arms,) places of the gripper joints."""
        return np.array([arm.gripper for arm in self.arms])

    def gripper_positions(self, openings: ArrayLike) -> NDArray[np.float64]:
        """(arms,) gripper joint positions (m) of (arms,) openings from 0 (closed) to 1 (open)."""
        low, high = self.lower[self.grippers], self.upper[self.grippers]
        return low + np.clip(openings, 0.0, 1.0) * (high - low)

    def gripper_openings(self, joint_positions: ArrayLike) -> NDArray[np.float64]:
        """(..., arms) openings from 0 (closed) to 1 (open) at joint positions (..., n), rad (m)."""
        low, high = self.lower[self.grippers], self.upper[self.grippers]
        return np.clip((np.asarray(joint_positions)[..., self.grippers] - low) / (high - low), 0.0, 1.0)
