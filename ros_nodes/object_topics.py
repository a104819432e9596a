"""`ObjectTopics`: the topics around an `ObjectFusion`: a camera's mount, evidence of others, where things are."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from policies.execution.camera_frames import CameraFrames
from policies.execution.frame_tree import FrameError
from policies.execution.joint_states import JointStates
from policies.robots.drivers import RobotDrivers
from representation.object_fusion import ObjectFusion
from representation.perceiver import Sight
from representation.vector_text import from_text, to_text
from ros_nodes.convert import mount_from_transform
from ros_nodes.qos import LATCHED, STATUS, Mode, joint_state_in

LOG_PERIOD_S = 2.0
MAX_TEXT, MAX_KINDS = 1_000_000, 1000  # of what another node tells


class ObjectTopics:
    """Takes what is found in pictures, publishes `~/evidence` for others and `~/things` for all.

    Args:
        node: a lifecycle node that owns publishers and subscriptions.
        fusion: what fuses.
        kinds: names of the kinds that are found.
        drivers: of the robot.
        camera: name of the camera, which stands still or is carried by the robot.
        frames: where the camera is.
        others: topics of the evidence of other cameras.
        mode: decides the quality of service of the joint states.

    Attributes:
        refused: messages that were not taken.
        unplaced: sights that were not taken, as nobody knew where the camera was at their time.
    """

    def __init__(
        self,
        node: Any,
        fusion: ObjectFusion,
        kinds: Sequence[str],
        drivers: RobotDrivers,
        camera: str,
        frames: CameraFrames,
        others: Sequence[str],
        mode: Mode,
    ) -> None:
        self._node: Node = node
        self._fusion, self._kinds = fusion, tuple(kinds)
        self._camera, self._frames = camera, frames
        self._joint_states = JointStates(drivers)
        self.refused = self.unplaced = 0
        self._evidence = node.create_lifecycle_publisher(String, "~/evidence", STATUS)
        self._things = node.create_lifecycle_publisher(String, "~/things", STATUS)
        self._made = [self._subscribe(topic, String, self._on_evidence(topic), STATUS) for topic in others if topic]
        driver = drivers.camera(camera)
        if driver.mount is None:
            self._made.append(self._subscribe(driver.extrinsics, TransformStamped, self._on_mount, LATCHED))
        self._made.append(self._subscribe(drivers.joint_states, JointState, self._on_joints, joint_state_in(mode)))

    def restart(self) -> None:
        """Forget what was seen and heard."""
        self._fusion.restart()

    def add(self, sight: Sight, found: NDArray[np.float32]) -> None:
        """Take what was found (K, F) in a sight with depth, and publish; nothing if the camera's place is unknown."""
        if sight.depth is None or sight.intrinsics is None:
            return
        try:
            pose = self._frames.pose(self._camera, sight.stamp)
        except FrameError as error:
            self.unplaced += 1
            self._node.get_logger().warning(f"{self._camera}: {error}", throttle_duration_sec=LOG_PERIOD_S)
            return
        self._fusion.see(sight.stamp, found, sight.depth, sight.intrinsics, pose)
        states = {self._kinds[kind]: to_text(state) for kind, state in self._fusion.states(sight.stamp).items()}
        self._evidence.publish(String(data=json.dumps({"stamp": sight.stamp, "states": states})))
        things = [asdict(thing) | {"kind": self._kinds[thing.kind]} for thing in self._fusion.things(sight.stamp)]
        self._things.publish(String(data=json.dumps({"stamp": sight.stamp, "things": things})))

    def destroy(self) -> None:
        """End subscriptions and publishers."""
        for subscription in self._made:
            self._node.destroy_subscription(subscription)
        for publisher in (self._evidence, self._things):
            self._node.destroy_lifecycle_publisher(publisher)

    def _subscribe(self, topic: str, kind: type, handle: Callable[[Any], None], qos: Any) -> Any:
        def receive(message: Any) -> None:
            try:
                handle(message)
            except (ValueError, RecursionError) as error:
                self.refused += 1
                self._node.get_logger().error(f"{topic}: {error}", throttle_duration_sec=LOG_PERIOD_S)

        return self._node.create_subscription(kind, topic, receive, qos)

    def _on_mount(self, message: TransformStamped) -> None:
        self._frames.fix_camera(self._camera, mount_from_transform(message))

    def _on_joints(self, message: JointState) -> None:
        if (measured := self._joint_states.add(message)) is not None:
            self._frames.add_joints(measured.time, measured.positions)

    def _on_evidence(self, topic: str) -> Callable[[String], None]:
        def hear(message: String) -> None:
            stamp, states = read_evidence(message.data)
            known = {name: kind for kind, name in enumerate(self._kinds)}
            self._fusion.hear(topic, stamp, {known[name]: state for name, state in states.items() if name in known})

        return hear


def read_evidence(text: str) -> tuple[float, dict[str, NDArray[np.float32]]]:
    """Stamp and states by kind of a message of evidence.

    Raises:
        ValueError: it is none.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"evidence: expected at most {MAX_TEXT} characters, found {len(text)}")
    content = json.loads(text)
    stamp, states = (content.get(name) if isinstance(content, dict) else None for name in ("stamp", "states"))
    if isinstance(stamp, bool) or not isinstance(stamp, int | float) or not np.isfinite(stamp):
        raise ValueError(f"evidence: expected a finite stamp, found {stamp!r:.100}")
    if not isinstance(states, dict) or len(states) > MAX_KINDS:
        raise ValueError(f"evidence: expected states by kind, found {states!r:.100}")
    return float(stamp), {name: from_text(state) for name, state in states.items()}
