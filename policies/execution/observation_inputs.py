"""`ObservationInputs`: messages of cameras and joints in, observations out; the same for live topics and for bags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.execution.camera_pose import CameraMount, camera_pose
from policies.execution.kinematics import Kinematics
from policies.execution.observation_sync import ObservationSynchronizer, SyncConfig
from policies.execution.sensor_messages import (
    depth_from_image,
    intrinsics_from_camera_info,
    joints_from_joint_state,
    mount_from_transform,
    rgb_from_image,
    seconds,
)
from policies.execution.trajectory import JointState
from policies.interface import Observation
from policies.robots.spec import RobotSpec

# Takes a message and the time of its arrival (s); returns whether the stamps have jumped back.
Handler = Callable[[Any, float], bool]


class ObservationInputs:
    """Converts every message that an observation is made of, and joins them by stamp.

    Each `add_*` takes a message (see `sensor_messages.py`) and the time of its arrival in seconds, returns whether the
    stamps have jumped back, and raises `ValueError` where the message is malformed.

    Args:
        spec: the robot; joints are matched by its names.
        cameras: names of the cameras that an observation needs.
        config: tolerances of the synchroniser.

    Attributes:
        sync: joins the messages.
        mounts: where the cameras are fixed, as far as that is known.
        joints: the joint state that came last, whatever its stamp.
    """

    def __init__(self, spec: RobotSpec, cameras: Sequence[str], config: SyncConfig) -> None:
        self.sync = ObservationSynchronizer(cameras, config, self._pose)
        self.mounts: dict[str, CameraMount] = {}
        self.joints: JointState | None = None
        self._spec = spec
        self._cameras = tuple(cameras)
        self._kinematics = Kinematics(spec)

    def handlers(self) -> dict[str, Handler]:
        """What takes the messages of each topic, relative to the robot's namespace."""
        handlers: dict[str, Handler] = {"instruction": self.add_instruction, "joint_states": self.add_joints}
        for camera in self._cameras:
            handlers[f"camera/{camera}/extrinsics"] = partial(self.add_mount, camera)
            handlers[f"camera/{camera}/color/camera_info"] = partial(self.add_info, camera)
            handlers[f"camera/{camera}/color/image_raw"] = partial(self.add_color, camera)
            handlers[f"camera/{camera}/aligned_depth_to_color/image_raw"] = partial(self.add_depth, camera)
        return handlers

    def missing_mounts(self) -> list[str]:
        """Cameras whose mount never came."""
        return [camera for camera in self._cameras if camera not in self.mounts]

    def take(self) -> Observation | None:
        """The newest complete observation that was not handed out yet, or None.

        Raises:
            ValueError: the images of a camera and its calibration have different sizes.
        """
        return None if self.missing_mounts() else self.sync.take()

    def add_instruction(self, message: Any, now: float = 0.0) -> bool:
        """Take a std_msgs/String that says what to do."""
        self.sync.instruction = message.data
        return False

    def add_mount(self, camera: str, message: Any, now: float = 0.0) -> bool:
        """Take a geometry_msgs/TransformStamped from the link that carries a camera to its optical frame."""
        mount = mount_from_transform(message)
        camera_pose(self._kinematics, self._spec.home, mount)  # an unknown parent frame is refused here, by name
        self.mounts[camera] = mount
        return False

    def add_static_transforms(self, message: Any, now: float = 0.0) -> bool:
        """Take a tf2_msgs/TFMessage of fixed frames, of which the mounts are those of `<camera>_optical_frame`."""
        cameras = {f"{camera}_optical_frame": camera for camera in self._cameras}
        for transform in message.transforms:
            if transform.child_frame_id in cameras:
                self.add_mount(cameras[transform.child_frame_id], transform)
        return False

    def add_joints(self, message: Any, now: float) -> bool:
        """Take a sensor_msgs/JointState."""
        positions, velocities = joints_from_joint_state(message, self._spec.joint_names)
        self.joints = JointState(seconds(message.header.stamp), positions, velocities)
        return self.sync.add_joints(self.joints.time, positions, velocities, now)

    def add_color(self, camera: str, message: Any, now: float) -> bool:
        """Take a colour sensor_msgs/Image."""
        return self.sync.add_color(camera, seconds(message.header.stamp), rgb_from_image(message), now)

    def add_depth(self, camera: str, message: Any, now: float) -> bool:
        """Take a depth sensor_msgs/Image, registered to the colour."""
        return self.sync.add_depth(camera, seconds(message.header.stamp), depth_from_image(message), now)

    def add_info(self, camera: str, message: Any, now: float) -> bool:
        """Take a sensor_msgs/CameraInfo."""
        intrinsics, size = intrinsics_from_camera_info(message)
        return self.sync.add_intrinsics(camera, seconds(message.header.stamp), intrinsics, size, now)

    def _pose(self, camera: str, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        return camera_pose(self._kinematics, positions, self.mounts[camera])
