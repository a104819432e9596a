"""`SensorTopics`: the topics that cameras, encoders and a static-transform publisher of a real arm would publish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.topic_endpoint_info import TopicEndpointInfo
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String

from policies.robots.camera_mount import CameraMount
from policies.robots.drivers import RobotDrivers
from ros_nodes import optional
from ros_nodes.controllers import joint_state_message
from ros_nodes.convert import (
    camera_info_from_intrinsics,
    image_from_depth,
    image_from_rgb,
    to_time,
    transform_from_mount,
)
from ros_nodes.qos import JOINT_STATE_OUT, LATCHED, STATIC_TRANSFORMS, Mode, sensor


@dataclass(frozen=True, slots=True)
class Frame:
    """What a camera sends at once: calibration, colour and registered depth."""

    info: CameraInfo
    color: Image
    depth: Image


def _owner(end: TopicEndpointInfo) -> tuple[str, str]:
    return end.node_namespace, end.node_name


class SensorTopics:
    """Publishers of joints, cameras, their mounts, the instruction and the clock. All times are seconds.

    Args:
        node: the node that owns the publishers.
        drivers: names, topics and units that are to be used.
        cameras: names of the cameras.
        mode: decides the quality of service of the images.
    """

    def __init__(self, node: Node, drivers: RobotDrivers, cameras: Sequence[str], mode: Mode) -> None:
        self._node = node
        self._drivers = drivers
        self._clock = node.create_publisher(Clock, "/clock", 10)
        self._joints = node.create_publisher(JointState, drivers.joint_states, JOINT_STATE_OUT)
        self._instruction = node.create_publisher(String, "instruction", LATCHED)
        self._mounts = {
            name: node.create_publisher(TransformStamped, drivers.camera(name).extrinsics, LATCHED) for name in cameras
        }
        self._static_transforms = (
            None
            if optional.TFMessage is None
            else node.create_publisher(optional.TFMessage, "tf_static", STATIC_TRANSFORMS)
        )
        images = sensor(mode)
        self._color = {name: node.create_publisher(Image, drivers.camera(name).color, images) for name in cameras}
        self._depth = {name: node.create_publisher(Image, drivers.camera(name).depth, images) for name in cameras}
        self._info = {name: node.create_publisher(CameraInfo, drivers.camera(name).info, images) for name in cameras}

    def without_subscriber(self, cameras: Sequence[str]) -> list[str]:
        """Topics that a policy needs (joints, and all of some cameras) and nobody hears yet, or not all who answer.

        Who is asked to do something and who commands the arm (policy and gateway) both need the joints: what is
        published before each is connected is lost to it. Topics of controllers that nobody commands yet count as well.
        """
        needed = [self._joints, self._instruction]
        for name in cameras:
            needed += [self._color[name], self._depth[name], self._info[name], self._mounts[name]]
        missing = [publisher.topic_name for publisher in needed if publisher.get_subscription_count() == 0]
        topics = [controller.topic for controller in self._drivers.controllers]
        commanding = [self._node.get_publishers_info_by_topic(topic) for topic in topics]
        missing += [topic for topic, found in zip(topics, commanding, strict=True) if not found]
        hearing = self._node.get_subscriptions_info_by_topic(self._joints.topic_name)
        unheard = {_owner(end) for found in commanding for end in found} - {_owner(end) for end in hearing}
        if unheard or self._joints.get_subscription_count() < min(2, len(hearing)):
            missing.append(self._joints.topic_name)
        return missing

    def publish_clock(self, time: float) -> None:
        """Tell the time."""
        self._clock.publish(Clock(clock=to_time(time)))

    def publish_instruction(self, text: str) -> None:
        """Say what is to be done."""
        self._instruction.publish(String(data=text))

    def publish_mounts(self, mounts: Mapping[str, CameraMount], time: float) -> None:
        """Tell where the cameras' optical frames are fixed."""
        transforms = [
            transform_from_mount(mount, time, self._drivers.camera(name).frame) for name, mount in mounts.items()
        ]
        for name, transform in zip(mounts, transforms, strict=True):
            self._mounts[name].publish(transform)
        if self._static_transforms is not None:
            self._static_transforms.publish(optional.TFMessage(transforms=transforms))

    def publish_joints(self, positions: NDArray[np.float64], velocities: NDArray[np.float64], time: float) -> None:
        """Tell the (n,) joint positions and velocities."""
        self.send_joints(self.joint_state(positions, velocities, time))

    def publish_camera(
        self,
        name: str,
        rgb: NDArray[np.uint8],
        depth: NDArray[np.float32],
        intrinsics: NDArray[np.float64],
        time: float,
    ) -> None:
        """Publish one RGB-D frame: colour (H, W, 3), registered depth (H, W) in metres, calibration (3, 3)."""
        self.send_frame(name, self.frame(name, rgb, depth, intrinsics, time))

    def publish_color(self, name: str, rgb: NDArray[np.uint8], time: float) -> None:
        """Publish a colour picture (H, W, 3) by itself."""
        self._color[name].publish(image_from_rgb(rgb, time, self._drivers.camera(name).frame))

    def joint_state(self, positions: NDArray[np.float64], velocities: NDArray[np.float64], time: float) -> JointState:
        """The message of (n,) joint positions and velocities."""
        return joint_state_message(positions, velocities, self._drivers, time)

    def frame(
        self,
        name: str,
        rgb: NDArray[np.uint8],
        depth: NDArray[np.float32],
        intrinsics: NDArray[np.float64],
        time: float,
    ) -> Frame:
        """The messages of one RGB-D frame; see `publish_camera`."""
        frame = self._drivers.camera(name).frame
        return Frame(
            camera_info_from_intrinsics(intrinsics, rgb.shape[:2], time, frame),
            image_from_rgb(rgb, time, frame),
            image_from_depth(depth, time, frame),
        )

    def send_joints(self, message: JointState) -> None:
        """Publish a joint state."""
        self._joints.publish(message)

    def send_frame(self, name: str, frame: Frame) -> None:
        """Publish a frame, one message after the other at once: who waits for all of them waits least."""
        self._info[name].publish(frame.info)
        self._color[name].publish(frame.color)
        self._depth[name].publish(frame.depth)
