"""`ObservationTopics`: the subscriptions from which a policy's observations are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String

from policies.execution.camera_pose import CameraMount, camera_pose
from policies.execution.kinematics import Kinematics
from policies.execution.observation_sync import JOINTS, ObservationSynchronizer, SyncConfig
from policies.interface import Observation
from policies.robots.spec import RobotSpec
from ros_nodes import optional
from ros_nodes.convert import (
    depth_from_image,
    intrinsics_from_camera_info,
    joints_from_joint_state,
    mount_from_transform,
    rgb_from_image,
    seconds,
)
from ros_nodes.diagnostics import Health, Level
from ros_nodes.message_loss import LossCounter
from ros_nodes.qos import LATCHED, STATIC_TRANSFORMS, Mode, joint_state_in, sensor

LOG_PERIOD_S = 2.0


class ObservationTopics:
    """Subscribes to everything that an observation is made of, and joins it by stamp.

    Args:
        node: the node that owns the subscriptions.
        spec: the robot; joints are matched by its names.
        cameras: names of the cameras that the policy looks through.
        mode: decides the quality of service.
        config: tolerances of the synchroniser.
        on_input: called after every message that was accepted.
        on_restart: called with the reason when a new instruction came or stamps jumped back.
        may_lack_cameras: whether the policy answers without some of its cameras; see `ObservationSynchronizer`.
    """

    def __init__(
        self,
        node: Node,
        spec: RobotSpec,
        cameras: Sequence[str],
        mode: Mode,
        config: SyncConfig,
        on_input: Callable[[], None],
        on_restart: Callable[[str], None],
        may_lack_cameras: bool = False,
    ) -> None:
        self._node = node
        self._spec = spec
        self._cameras = tuple(cameras)
        self._config = config
        self._on_input = on_input
        self._on_restart = on_restart
        self._kinematics = Kinematics(spec)
        self._mounts: dict[str, CameraMount] = {}
        self._sync = ObservationSynchronizer(cameras, config, self._pose, may_lack_cameras)
        self._losses = {name: LossCounter() for name in self._sync.statuses()}
        self._refused: dict[str, tuple[float, str]] = {}
        self._taken_at = self._now()
        # In the order in which simultaneous messages are handled: a new episode's instruction before its images.
        self._subscriptions_made = [node.create_subscription(String, "instruction", self._on_instruction, LATCHED)]
        for camera in cameras:
            self._subscribe(TransformStamped, f"camera/{camera}/extrinsics", partial(self._on_mount, camera), LATCHED)
        if optional.TFMessage is not None:
            self._subscribe(optional.TFMessage, "/tf_static", self._on_static_transforms, STATIC_TRANSFORMS)
        self._needed = [self._subscribe(JointState, "joint_states", self._on_joints, joint_state_in(mode))]
        for camera in cameras:
            for topic, kind, handle in (
                ("color/camera_info", CameraInfo, self._on_info),
                ("color/image_raw", Image, self._on_color),
                ("aligned_depth_to_color/image_raw", Image, self._on_depth),
            ):
                name = f"camera/{camera}/{topic}"
                self._needed.append(self._subscribe(kind, name, partial(handle, camera), sensor(mode)))

    def take(self) -> Observation | None:
        """The newest complete observation that was not handed out yet, or None."""
        if len(self._mounts) < len(self._cameras):
            return None
        try:
            observation = self._sync.take(self._now())
        except ValueError as error:
            self._refuse("observation", error)
            return None
        if observation is not None:
            self._taken_at = self._now()
        return observation

    def without_publisher(self) -> list[str]:
        """Topics of joints and cameras that nobody publishes, as they are named after remapping."""
        return [needed.topic_name for needed in self._needed if needed.get_publisher_count() == 0]

    def clear(self) -> None:
        """Forget every message that came so far, except instruction and mounts."""
        self._sync.clear()
        self._refused.clear()
        self._taken_at = self._now()

    def destroy(self) -> None:
        """End the subscriptions."""
        for subscription in self._subscriptions_made:
            self._node.destroy_subscription(subscription)

    def health(self) -> Health:
        """What is missing, refused or too far apart, and the counters of every topic."""
        now = self._now()
        refused = [text for at, text in self._refused.values() if now - at <= self._config.max_age_s]
        missing = [f"{camera}/extrinsics never came" for camera in self._cameras if camera not in self._mounts]
        missing += self._sync.missing(now)
        if refused:
            return Health(Level.ERROR, f"refused: {'; '.join(refused)}", self._values)
        if missing:
            return Health(Level.ERROR, f"missing: {'; '.join(missing)}", self._values)
        if now - self._taken_at > self._config.max_age_s:
            return Health(
                Level.ERROR,
                f"no inputs within {self._config.max_skew_s} s of each other: compare the stamps",
                self._values,
            )
        if lost := self._sync.lost_cameras(now):
            late = f"goes on without {', '.join(lost)}: not complete for {self._config.max_age_s:g} s"
            return Health(Level.WARN, late, self._values)
        return Health(Level.OK, "every input comes", self._values)

    def _values(self) -> Mapping[str, object]:
        now = self._now()
        values: dict[str, object] = {"stamps_jumped_back": self._sync.rewinds}
        for name, status in self._sync.statuses().items():
            age = "never" if status.received_at is None else f"{now - status.received_at:.3f}"
            values[f"{name} age_s"] = age
            values[f"{name} skew_s"] = f"{status.skew_s:.6f}"
            values[f"{name} received"] = status.received
            values[f"{name} lost"] = self._losses[name].lost
            values[f"{name} unused"] = status.dropped
        return values

    def _subscribe(self, kind: type, topic: str, handle: Callable, qos: QoSProfile) -> Subscription:
        def receive(message: object, info: Mapping[str, int]) -> None:
            try:
                handle(message, info)
            except ValueError as error:
                self._refuse(topic, error)

        subscription = self._node.create_subscription(kind, topic, receive, qos)
        self._subscriptions_made.append(subscription)
        return subscription

    def _refuse(self, topic: str, error: ValueError) -> None:
        self._refused[topic] = (self._now(), f"{topic}: {error}")
        self._node.get_logger().error(f"{topic}: {error}", throttle_duration_sec=LOG_PERIOD_S)

    def _on_instruction(self, message: String) -> None:
        self._sync.instruction = message.data
        self._on_restart(f"new instruction: {message.data}")
        self._on_input()

    def _on_mount(self, camera: str, message: TransformStamped, _: Mapping[str, int]) -> None:
        mount = mount_from_transform(message)
        camera_pose(self._kinematics, self._spec.home, mount)  # an unknown parent frame is refused here, by name
        self._mounts[camera] = mount
        self._on_input()

    def _on_static_transforms(self, message: Any, info: Mapping[str, int]) -> None:
        cameras = {f"{camera}_optical_frame": camera for camera in self._cameras}
        for transform in message.transforms:
            if transform.child_frame_id in cameras:
                self._on_mount(cameras[transform.child_frame_id], transform, info)

    def _on_joints(self, message: JointState, info: Mapping[str, int]) -> None:
        self._losses[JOINTS].add(info["publication_sequence_number"])
        positions, velocities = joints_from_joint_state(message, self._spec.joint_names)
        self._added(self._sync.add_joints(seconds(message.header.stamp), positions, velocities, self._now()))

    def _on_color(self, camera: str, message: Image, info: Mapping[str, int]) -> None:
        self._losses[f"{camera}/color"].add(info["publication_sequence_number"])
        rgb = rgb_from_image(message)
        self._added(self._sync.add_color(camera, seconds(message.header.stamp), rgb, self._now()))

    def _on_depth(self, camera: str, message: Image, info: Mapping[str, int]) -> None:
        self._losses[f"{camera}/depth"].add(info["publication_sequence_number"])
        depth = depth_from_image(message)
        self._added(self._sync.add_depth(camera, seconds(message.header.stamp), depth, self._now()))

    def _on_info(self, camera: str, message: CameraInfo, info: Mapping[str, int]) -> None:
        self._losses[f"{camera}/info"].add(info["publication_sequence_number"])
        intrinsics, size = intrinsics_from_camera_info(message)
        self._added(self._sync.add_intrinsics(camera, seconds(message.header.stamp), intrinsics, size, self._now()))

    def _added(self, rewound: bool) -> None:
        if rewound:
            self._on_restart("stamps jumped back")
        self._on_input()

    def _pose(self, camera: str, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        return camera_pose(self._kinematics, positions, self._mounts[camera])

    def _now(self) -> float:
        return self._node.steady_clock.now().nanoseconds * 1e-9
