"""`ObservationTopics`: the subscriptions from which a policy's observations are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String

from policies.execution.camera_pose import CameraConfig
from policies.execution.joint_log import JointLog
from policies.execution.observation_inputs import Handler, ObservationInputs
from policies.execution.observation_sync import JOINTS, SyncConfig
from policies.execution.plausibility import depth_mismatch, joints_mismatch
from policies.interface import Observation
from policies.robots.drivers import RobotDrivers
from policies.robots.spec import RobotSpec
from ros_nodes import optional
from ros_nodes.diagnostics import Health, Level, Rate
from ros_nodes.message_loss import LossCounter
from ros_nodes.qos import LATCHED, STATIC_TRANSFORMS, TRANSFORMS, Mode, joint_state_in, sensor

LOG_PERIOD_S = 2.0
DEPTH_STRIDE = 4  # pixels; a few tell the scale of a picture


class ObservationTopics:
    """Subscribes to everything that an observation is made of, and joins it by stamp.

    Args:
        node: the node that owns the subscriptions.
        spec: the robot.
        drivers: its topics, frames and units; joints are matched by their names.
        cameras: names of the cameras that the policy looks through.
        mode: decides the quality of service.
        config: tolerances of the synchroniser.
        on_input: called after every message that was accepted.
        on_restart: called with the reason when a new instruction came or stamps jumped back.
        calibrations: by camera, its latency, and its mount in place of the one that a topic tells.
        may_lack_cameras: whether the policy answers without some of its cameras; see `ObservationSynchronizer`.
        looks_back_s: how far before an observation the policy looks at pictures too, likewise; 0 if it does not.

    Attributes:
        joint_log: the joint states since the last observation that was answered.

    Raises:
        ValueError: a calibration's mount is none; names the camera.
    """

    def __init__(
        self,
        node: Node,
        spec: RobotSpec,
        drivers: RobotDrivers,
        cameras: Sequence[str],
        mode: Mode,
        config: SyncConfig,
        on_input: Callable[[], None],
        on_restart: Callable[[str], None],
        calibrations: Mapping[str, CameraConfig] | None = None,
        may_lack_cameras: bool = False,
        looks_back_s: float = 0.0,
    ) -> None:
        self._node = node
        self._drivers = drivers
        self._config = config
        self._on_input = on_input
        self._on_restart = on_restart
        self._calibrations = dict.fromkeys(cameras, CameraConfig()) | dict(calibrations or {})
        self._inputs = ObservationInputs(
            spec, drivers, cameras, config, self._calibrations, may_lack_cameras, looks_back_s
        )
        self._looks_back = looks_back_s > 0
        self._sync = self._inputs.sync
        self._losses = {name: LossCounter() for name in self._sync.statuses()}
        self._rates = {name: Rate(self._now()) for name in self._losses}
        self._refused: dict[str, tuple[float, str]] = {}
        self.joint_log = JointLog()
        self._taken_at = self._now()
        # In the order in which simultaneous messages are handled: a new episode's instruction before its images.
        self._subscriptions_made = [node.create_subscription(String, "instruction", self._on_instruction, LATCHED)]
        for camera in cameras:
            self._subscribe(
                TransformStamped, drivers.camera(camera).extrinsics, partial(self._on_mount, camera), LATCHED
            )
        if optional.TFMessage is not None:
            self._subscribe(optional.TFMessage, "tf_static", self._on_static_transforms, STATIC_TRANSFORMS)
            self._subscribe(optional.TFMessage, "tf", self._on_transforms, TRANSFORMS)
        self._needed = [self._subscribe(JointState, drivers.joint_states, self._on_joints, joint_state_in(mode))]
        for camera in cameras:
            driver = drivers.camera(camera)
            for topic, kind, handle in (
                (driver.info, CameraInfo, self._on_info),
                (driver.color, Image, self._on_color),
                (driver.depth, Image, self._on_depth),
            ):
                self._needed.append(self._subscribe(kind, topic, partial(handle, camera), sensor(mode)))

    def take(self, wanted: Callable[[float], bool] = lambda stamp: True) -> Observation | None:
        """The newest complete observation that was not handed out yet, or None.

        Args:
            wanted: whether an observation of that stamp is of use; see `ObservationSynchronizer.take`.
        """

        def complete(stamp: float) -> bool:
            self._taken_at = self._now()
            return wanted(stamp)

        try:
            return self._inputs.take(self._now(), complete)
        except ValueError as error:
            self._refuse("observation", error)
            return None

    def without_publisher(self) -> list[str]:
        """Topics of joints and cameras that nobody publishes, as they are named after remapping."""
        return [needed.topic_name for needed in self._needed if needed.get_publisher_count() == 0]

    def implausible(self, spec: RobotSpec) -> str:
        """What of the messages that came so far cannot be right, in words; empty if nothing is, or none came."""
        depths = self._sync.newest_depths().items()
        found = [depth_mismatch(name, depth[::DEPTH_STRIDE, ::DEPTH_STRIDE]) for name, depth in depths]
        if self._inputs.joints is not None:
            found.append(joints_mismatch(self._inputs.joints.positions, spec))
        return "; ".join(filter(None, [*self._lately_refused(), *found]))

    def clear(self) -> None:
        """Forget every message that came so far, except instruction and mounts."""
        self._inputs.clear()
        self.joint_log.clear()
        self._refused.clear()
        self._taken_at = self._now()

    def destroy(self) -> None:
        """End the subscriptions."""
        for subscription in self._subscriptions_made:
            self._node.destroy_subscription(subscription)

    def health(self) -> Health:
        """What is missing, refused or too far apart, and the counters of every topic."""
        now = self._now()
        refused = self._lately_refused()
        missing = self._inputs.unplaced() + self._sync.missing(now)
        if any(text.startswith(JOINTS) for text in missing) and (lacking := self._inputs.lacking_joints()):
            missing.append(lacking)
        if refused:
            return Health(Level.ERROR, f"refused: {'; '.join(refused)}", self.values)
        if missing:
            return Health(Level.ERROR, f"missing: {'; '.join(missing)}", self.values)
        if now - self._taken_at > self._config.max_age_s:
            apart = "; ".join(self._sync.lagging()) or f"no inputs within {self._config.max_skew_s} s of each other"
            return Health(Level.ERROR, f"{apart}: compare the stamps", self.values)
        if lost := self._sync.lost_cameras(now):
            late = f"goes on without {', '.join(lost)}: not complete for {self._config.max_age_s:g} s"
            return Health(Level.WARN, late, self.values)
        return Health(Level.OK, "every input comes", self.values)

    def _lately_refused(self) -> list[str]:
        now = self._now()
        return [text for at, text in self._refused.values() if now - at <= self._config.max_age_s]

    def values(self) -> Mapping[str, object]:
        """Age, skew and counters of every topic."""
        now = self._now()
        values: dict[str, object] = {"stamps_jumped_back": self._sync.rewinds}
        several = self._needed[0].get_publisher_count() > 1  # of joint states, whose numbers then tell nothing
        for name, status in self._sync.statuses().items():
            age = "never" if status.received_at is None else f"{now - status.received_at:.3f}"
            values[f"{name} age_s"] = age
            values[f"{name} rate_hz"] = f"{self._rates[name].hz(status.received, now):.1f}"
            values[f"{name} skew_s"] = f"{status.skew_s:.6f}"
            values[f"{name} lag_s"] = f"{status.lag_s:.3f}"
            values[f"{name} received"] = status.received
            unknown = several and name == JOINTS
            values[f"{name} lost"] = "unknown: several publishers" if unknown else self._losses[name].lost
            values[f"{name} unused"] = status.dropped
        if self._looks_back:
            values["pictures without the one before"] = self._sync.without_earlier
        for camera, calibration in self._calibrations.items():
            values[f"{camera} latency_s"] = f"{calibration.latency_s:.6f}"
            known = "description" if self._drivers.camera(camera).mount is not None else "topic"
            values[f"{camera} mount"] = "parameters" if calibration.parent_frame else known
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
        self._inputs.add_instruction(message)
        self.joint_log.clear()
        self._on_restart(f"new instruction: {message.data}")
        self._on_input()

    def _on_mount(self, camera: str, message: TransformStamped, _: Mapping[str, int]) -> None:
        self._inputs.add_mount(camera, message)
        self._on_input()

    def _on_static_transforms(self, message: Any, _: Mapping[str, int]) -> None:
        self._inputs.add_static_transforms(message)
        self._on_input()

    def _on_transforms(self, message: Any, _: Mapping[str, int]) -> None:
        self._inputs.add_transforms(message)
        self._on_input()

    def _on_joints(self, message: JointState, info: Mapping[str, int]) -> None:
        self._add(JOINTS, self._log_joints, message, info)

    def _log_joints(self, message: JointState, now: float) -> bool:
        before, rewound = self._inputs.joints, self._inputs.add_joints(message, now)
        if self._inputs.joints is not before:
            self.joint_log.add(self._inputs.joints.time, self._inputs.joints.positions)
        return rewound

    def _on_color(self, camera: str, message: Image, info: Mapping[str, int]) -> None:
        self._add(f"{camera}/color", partial(self._inputs.add_color, camera), message, info)

    def _on_depth(self, camera: str, message: Image, info: Mapping[str, int]) -> None:
        self._add(f"{camera}/depth", partial(self._inputs.add_depth, camera), message, info)

    def _on_info(self, camera: str, message: CameraInfo, info: Mapping[str, int]) -> None:
        self._add(f"{camera}/info", partial(self._inputs.add_info, camera), message, info)

    def _add(self, stream: str, add: Handler, message: Any, info: Mapping[str, int]) -> None:
        self._losses[stream].add(info["publication_sequence_number"])
        if add(message, self._now()):
            self._on_restart("stamps jumped back")
        self._on_input()

    def _now(self) -> float:
        return self._node.steady_clock.now().nanoseconds * 1e-9
