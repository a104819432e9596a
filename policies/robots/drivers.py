"""`RobotDrivers`: what the drivers of a robot call things, and in which units; the part of it that only ROS needs.

The stack counts joints in the order of `RobotSpec`, in rad and m, and gripper joints in what the model moves. A driver
may name them otherwise, share them among several controllers, and take a gripper's opening as 0..1, as a byte or as the
angle of a knuckle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policies.robots.camera_mount import CameraMount


@dataclass(frozen=True, slots=True)
class Controller:
    """One of the robot's controllers.

    Attributes:
        topic: where it takes `trajectory_msgs/JointTrajectory`.
        joints: places of its joints in `RobotSpec.joint_names`.
    """

    topic: str
    joints: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CameraDriver:
    """The topics and the place of one camera.

    Attributes:
        color: topic of the colour images.
        depth: topic of the depth images, registered to the colour camera.
        info: topic of the colour camera's calibration.
        extrinsics: topic that tells its mount, latched.
        frame: name of its optical frame.
        mount: where it is fixed, from a hand-eye calibration; None where the topic, or tf, tells.
    """

    color: str
    depth: str
    info: str
    extrinsics: str
    frame: str
    mount: CameraMount | None = None


def camera_driver(name: str) -> CameraDriver:
    """A camera whose driver uses the names of RealSense cameras, relative to the robot's namespace."""
    return CameraDriver(
        f"camera/{name}/color/image_raw",
        f"camera/{name}/aligned_depth_to_color/image_raw",
        f"camera/{name}/color/camera_info",
        f"camera/{name}/extrinsics",
        f"{name}_optical_frame",
    )


@dataclass(frozen=True, slots=True)
class RobotDrivers:
    """Names, topics and units of a robot's drivers.

    Attributes:
        joint_names: n names in `joint_states` and in commands, in the order of `RobotSpec.joint_names`.
        scale: (n,) driver's units per unit of ours.
        offset: (n,) driver's value where ours is 0.
        joint_states: topic of `sensor_msgs/JointState`.
        controllers: together they have every joint once.
        cameras: by name, those that do not use the names of `camera_driver`, or whose mount is known.
        frames: our names of frames by the driver's, where they differ.
    """

    joint_names: tuple[str, ...]
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]
    joint_states: str
    controllers: tuple[Controller, ...]
    cameras: Mapping[str, CameraDriver]
    frames: Mapping[str, str]

    def __post_init__(self) -> None:
        count = len(self.joint_names)
        if len(set(self.joint_names)) != count:
            raise ValueError(f"joint_names: expected each driver's joint once, found {self.joint_names}")
        places = sorted(place for controller in self.controllers for place in controller.joints)
        if places != list(range(count)):
            raise ValueError(
                f"controllers: expected the joints 0 to {count - 1}, each in one controller, found {places}"
            )
        topics = [controller.topic for controller in self.controllers]
        if len(set(topics)) != len(topics):
            raise ValueError(f"controllers: expected a topic for each, found {topics}")
        for name in ("scale", "offset"):
            value = np.asarray(getattr(self, name), dtype=np.float64)
            if value.shape != (count,) or not np.isfinite(value).all():
                raise ValueError(f"{name}: expected {count} finite values, found {value}")
            object.__setattr__(self, name, value)
        if not self.scale.all():
            raise ValueError(f"scale: expected no zeros, found {self.scale}")

    def camera(self, name: str) -> CameraDriver:
        """The camera of that name; one with the usual topics where nothing else is said."""
        return self.cameras.get(name) or camera_driver(name)

    def frame(self, name: str) -> str:
        """Our name of a driver's frame."""
        return self.frames.get(name, name)

    def to_driver(self, positions: ArrayLike, velocities: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positions and velocities (..., n) in the driver's units."""
        return np.asarray(positions) * self.scale + self.offset, np.asarray(velocities) * self.scale

    def from_driver(
        self, positions: ArrayLike, velocities: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positions and velocities (..., n) in rad (m), of the driver's."""
        return (np.asarray(positions) - self.offset) / self.scale, np.asarray(velocities) / self.scale
