"""`ImperfectSensors`: stands before `SensorTopics` and disturbs what goes through, as `Imperfections` say."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import JointState

from policies.robots.camera_mount import CameraMount
from ros_nodes.delay_line import DelayLine
from ros_nodes.imperfections import NONE, Imperfections
from ros_nodes.sensor_topics import Frame, SensorTopics

JOINTS = "joint_states"


class ImperfectSensors:
    """Topics of sensors that fail on demand.

    Args:
        topics: where everything goes.
        line: delays what is late.
        truth: is given every joint state, undisturbed.
        imperfections: what is wrong; change it at any time by `set`.
    """

    def __init__(
        self,
        topics: SensorTopics,
        line: DelayLine,
        truth: Callable[[NDArray[np.float64], NDArray[np.float64], float], None],
        imperfections: Imperfections = NONE,
    ) -> None:
        self._topics = topics
        self._line = line
        self._truth = truth
        self.set(imperfections)

    def set(self, imperfections: Imperfections) -> None:
        """Disturb in this way from now on; draws begin anew."""
        # Cameras and joints have a thread each, and a generator must not be shared between threads.
        seeds = np.random.SeedSequence(imperfections.seed).spawn(2)
        self._camera_rng, self._joint_rng = (np.random.default_rng(seed) for seed in seeds)
        self._frozen: dict[str, tuple[NDArray[np.uint8], NDArray[np.float32]]] = {}
        self._imperfections = imperfections

    def publish_clock(self, time: float) -> None:
        """Tell the time."""
        if not self._imperfections.clock_paused:
            self._topics.publish_clock(time)

    def publish_instruction(self, text: str) -> None:
        """Say what is to be done."""
        self._topics.publish_instruction(text)

    def publish_mounts(self, mounts: Mapping[str, CameraMount], time: float) -> None:
        """Tell where the cameras' optical frames are fixed."""
        self._topics.publish_mounts(mounts, time)

    def publish_joints(self, positions: NDArray[np.float64], velocities: NDArray[np.float64], time: float) -> None:
        """Tell the (n,) joint positions and velocities."""
        self._truth(positions, velocities, time)
        wrong = self._imperfections
        if self._perfect(wrong):
            self._topics.publish_joints(positions, velocities, time)
            return
        if wrong.joints_stopped or self._joint_rng.random() < wrong.joint_state_loss:
            return
        message = self._topics.joint_state(positions, velocities, time + wrong.joint_stamp_offset_s)
        if wrong.joints_reversed:
            _reverse(message)
        delay = wrong.latency_s + wrong.jitter_s * self._joint_rng.random()
        self._line.send(JOINTS, delay, lambda: self._topics.send_joints(message))

    def publish_camera(
        self,
        name: str,
        rgb: NDArray[np.uint8],
        depth: NDArray[np.float32],
        intrinsics: NDArray[np.float64],
        time: float,
    ) -> None:
        """Publish one RGB-D frame; see `SensorTopics.publish_camera`."""
        wrong = self._imperfections
        if self._perfect(wrong):
            self._topics.publish_camera(name, rgb, depth, intrinsics, time)
            return
        if name in wrong.stopped_cameras or self._camera_rng.random() < wrong.image_loss:
            return
        if name in wrong.frozen_cameras:
            rgb, depth = self._frozen.setdefault(name, (rgb.copy(), depth.copy()))
        frame = self._topics.frame(name, rgb, depth, intrinsics, time + wrong.camera_stamp_offset_s)
        _misdescribe(frame, wrong)
        delay = wrong.latency_s + wrong.jitter_s * self._camera_rng.random()
        delay += wrong.late_camera_s if name == wrong.late_camera else 0.0
        self._line.send(name, delay, lambda: self._topics.send_frame(name, frame))

    def _perfect(self, wrong: Imperfections) -> bool:
        """Whether nothing is disturbed; what still waits in the line is not overtaken."""
        return wrong == NONE and not self._line.running


def _reverse(message: JointState) -> None:
    message.name = message.name[::-1]
    message.position = message.position[::-1]
    message.velocity = message.velocity[::-1]


def _misdescribe(frame: Frame, wrong: Imperfections) -> None:
    if wrong.image_encoding:
        frame.color.encoding = wrong.image_encoding
    for image in (frame.color, frame.depth):
        if wrong.image_step >= 0:
            image.step = wrong.image_step
        image.is_bigendian = int(wrong.image_bigendian)
