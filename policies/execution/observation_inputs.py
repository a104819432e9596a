"""`ObservationInputs`: messages of cameras and joints in, observations out; the same for live topics and for bags."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from policies.execution.camera_frames import CameraFrames
from policies.execution.camera_pose import CameraConfig
from policies.execution.joint_states import JointStates
from policies.execution.observation_sync import ObservationSynchronizer, SyncConfig
from policies.execution.sensor_messages import mount_from_transform
from policies.execution.trajectory import JointState
from policies.interface import Observation
from policies.robots.drivers import RobotDrivers
from policies.robots.spec import RobotSpec
from representation.data.camera_messages import (
    depth_pixels,
    intrinsics_from_camera_info,
    rgb_from_image,
    seconds,
)

# Takes a message and the time of its arrival (s); returns whether the stamps have jumped back.
Handler = Callable[[Any, float], bool]


class ObservationInputs:
    """Converts every message that an observation is made of, and joins them by stamp.

    Each `add_*` takes a message (see `sensor_messages.py`) and the time of its arrival in seconds, returns whether the
    stamps have jumped back, and raises `ValueError` where the message is malformed.

    Args:
        spec: the robot.
        drivers: its topics, frames and units; joints are matched by their names.
        cameras: names of the cameras that an observation needs.
        config: tolerances of the synchroniser.
        calibrations: by camera, its latency, and its mount in place of the one that the drivers or a topic tell.
        may_lack_cameras: see `ObservationSynchronizer`.
        looks_back_s: likewise.

    Raises:
        ValueError: a calibration's mount is none; names the camera. One on an unknown frame leaves the camera unplaced.

    Attributes:
        sync: joins the messages.
        joints: the whole joint state that came last, whatever its stamp; rad (m).
    """

    def __init__(
        self,
        spec: RobotSpec,
        drivers: RobotDrivers,
        cameras: Sequence[str],
        config: SyncConfig,
        calibrations: Mapping[str, CameraConfig] | None = None,
        may_lack_cameras: bool = False,
        looks_back_s: float = 0.0,
    ) -> None:
        calibrations = calibrations or {}
        drivers = _calibrated(drivers, calibrations)
        # Two pictures of one observation may lie that far apart from the same joint state, on different sides.
        self._frames = CameraFrames(spec, drivers, cameras, 2.0 * config.max_skew_s)
        latencies = {camera: calibration.latency_s for camera, calibration in calibrations.items()}
        self.sync = ObservationSynchronizer(
            cameras, config, self._frames.pose, latencies, may_lack_cameras, looks_back_s
        )
        self.joints: JointState | None = None
        self._joint_states = JointStates(drivers)
        self._drivers = drivers
        self._cameras = tuple(cameras)
        # What is known is not told by a topic.
        own = (drivers.camera(camera) for camera in cameras)
        self._placed = {driver.frame for driver in own if driver.mount is not None}

    def handlers(self) -> dict[str, Handler]:
        """What takes the messages of each topic, relative to the robot's namespace."""
        handlers: dict[str, Handler] = {
            "instruction": self.add_instruction,
            self._drivers.joint_states: self.add_joints,
        }
        for camera in self._cameras:
            driver = self._drivers.camera(camera)
            handlers[driver.extrinsics] = partial(self.add_mount, camera)
            handlers[driver.info] = partial(self.add_info, camera)
            handlers[driver.color] = partial(self.add_color, camera)
            handlers[driver.depth] = partial(self.add_depth, camera)
        return handlers

    def unplaced(self) -> list[str]:
        """What each camera that cannot be placed lacks."""
        return self._frames.unplaced

    def lacking_joints(self) -> str:
        """Which joints a newer joint state waits for, in words; empty if none."""
        return self._joint_states.lack()

    def clear(self) -> None:
        """Forget every message that came so far, except instruction and mounts."""
        self.sync.clear()
        self._frames.clear()
        self._joint_states.clear()

    def take(self, now: float, wanted: Callable[[float], bool] = lambda stamp: True) -> Observation | None:
        """The newest complete observation that was not handed out yet, or None.

        Args:
            now: present time, as given to the `add_*`.
            wanted: see `ObservationSynchronizer.take`.

        Raises:
            ValueError: the images of a camera and its calibration have different sizes.
        """
        return None if self.unplaced() else self.sync.take(now, wanted)

    def add_instruction(self, message: Any, now: float = 0.0) -> bool:
        """Take a std_msgs/String that says what to do, with which an episode begins."""
        self.sync.instruction = message.data
        self.sync.forget_earlier()
        return False

    def add_mount(self, camera: str, message: Any, now: float = 0.0) -> bool:
        """Take a geometry_msgs/TransformStamped from the link that carries a camera to its optical frame."""
        if self._drivers.camera(camera).frame not in self._placed:
            self._frames.fix_camera(camera, mount_from_transform(message))
        return False

    def add_static_transforms(self, message: Any, now: float = 0.0) -> bool:
        """Take a tf2_msgs/TFMessage of fixed frames."""
        for transform in message.transforms:
            if transform.child_frame_id not in self._placed:
                self._frames.fix(transform.child_frame_id, mount_from_transform(transform))
        return False

    def add_transforms(self, message: Any, now: float = 0.0) -> bool:
        """Take a tf2_msgs/TFMessage of frames that move."""
        for transform in message.transforms:
            if transform.child_frame_id not in self._placed:
                mount = mount_from_transform(transform)
                self._frames.move(transform.child_frame_id, seconds(transform.header.stamp), mount)
        return False

    def add_joints(self, message: Any, now: float) -> bool:
        """Take a sensor_msgs/JointState; where it tells of some joints only, see `JointStates`."""
        state = self._joint_states.add(message)
        if state is None:
            return False
        self.joints = state
        self._frames.add_joints(self.joints.time, self.joints.positions)
        return self.sync.add_joints(self.joints.time, self.joints.positions, self.joints.velocities, now)

    def add_color(self, camera: str, message: Any, now: float) -> bool:
        """Take a colour sensor_msgs/Image."""
        return self.sync.add_color(camera, seconds(message.header.stamp), rgb_from_image(message), now)

    def add_depth(self, camera: str, message: Any, now: float) -> bool:
        """Take a depth sensor_msgs/Image, registered to the colour."""
        return self.sync.add_depth(camera, seconds(message.header.stamp), depth_pixels(message), now)

    def add_info(self, camera: str, message: Any, now: float) -> bool:
        """Take a sensor_msgs/CameraInfo."""
        intrinsics, size = intrinsics_from_camera_info(message)
        return self.sync.add_intrinsics(camera, seconds(message.header.stamp), intrinsics, size, now)


def _calibrated(drivers: RobotDrivers, calibrations: Mapping[str, CameraConfig]) -> RobotDrivers:
    """The drivers with the mounts of calibrations in place of their own."""
    cameras = dict(drivers.cameras)
    for camera, calibration in calibrations.items():
        try:
            if calibration.mount is not None:
                cameras[camera] = replace(drivers.camera(camera), mount=calibration.mount)
        except ValueError as error:
            raise ValueError(f"parameters camera.{camera}: {error}") from error
    return replace(drivers, cameras=cameras)
