"""`calibrate_cameras`: guides a person through a calibration, takes the views, and writes parameters and a report.

It moves nothing: the arm is moved by hand or by its own tools. What became of the newest image and what is still
missing is logged and in the diagnostics. When nothing is missing, or `~/finish` is called, the result is written and
the node ends: with 0 if there is a result, with 1 if the views do not give one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_srvs.srv import Trigger

from policies.calibration.board import Board, BoardSpec
from policies.calibration.hand_eye import Setup
from policies.calibration.intrinsics import CameraIntrinsics
from policies.calibration.joint_track import JointTrack
from policies.calibration.pose_diversity import LEAST_POSES, WANTED_POSES
from policies.calibration.sessions import MAX_VIEWS, HandEyeSession, IntrinsicsSession, LatencySession, Session
from policies.execution.joint_states import JointStates
from policies.execution.kinematics import Kinematics
from policies.robots import get_drivers, get_robot
from ros_nodes.convert import rgb_from_image, seconds
from ros_nodes.diagnostics import Diagnostics, Health, Level
from ros_nodes.params import declare
from ros_nodes.qos import joint_state_in, sensor
from ros_nodes.stop_signals import stop_on_signals
from ros_nodes.transport import use_shared_memory_profile

TRACK_S = 60.0
LOG_PERIOD_S = 2.0
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class CalibrationConfig:
    """What is calibrated.

    Attributes:
        task: hand_eye (where the camera is fixed), intrinsics (its lens) or latency (how late its stamps are).
        camera: name of the camera, as in its topics.
        robot: name of the robot.
        setup: for hand_eye, whether the camera is on the hand or the board is.
        tool_frame: body or site that carries camera or board; empty stands for the first arm's tool.
        joint_noise_deg: standard deviation of the error of a joint, degrees.
        poses: for hand_eye, how many are asked for; the error of the mount falls with their number.
        output: directory for the result.
    """

    task: Literal["hand_eye", "intrinsics", "latency"] = "hand_eye"
    camera: str = "wrist"
    robot: str = "panda"
    setup: Setup = "eye_in_hand"
    tool_frame: str = ""
    joint_noise_deg: float = field(default=0.1, metadata={"range": (0.001, 10.0)})
    poses: int = field(default=WANTED_POSES, metadata={"range": (LEAST_POSES, MAX_VIEWS)})
    output: str = "runs/calibration"


class CalibrateCameras(Node):
    """Topics, log and diagnostics around a `Session`.

    Attributes:
        exit_code: None while views are collected.
    """

    def __init__(self) -> None:
        super().__init__("calibrate_cameras")
        self.exit_code: int | None = None
        self._config = declare(self, CalibrationConfig)
        self._board = Board(declare(self, BoardSpec, "board"))
        self._spec, self._drivers = get_robot(self._config.robot), get_drivers(self._config.robot)
        self._joint_states = JointStates(self._drivers)
        self._kinematics = Kinematics(self._spec)
        self._tool_frame = self._config.tool_frame or self._spec.arms[0].tool_site
        self._kinematics.frame(self._spec.home, self._tool_frame)  # an unknown frame is refused here, by name
        self._joints = JointTrack(TRACK_S)
        self._session: Session | None = None
        if self._config.task == "intrinsics":
            self._session = IntrinsicsSession(self._board, self._config.camera)
        elif self._config.task == "latency":
            self._session = LatencySession(self._board, self._config.camera)
        self._image: tuple[float, NDArray[np.uint8]] | None = None
        self._told = Health(Level.WARN, "no image came yet")
        camera = self._drivers.camera(self._config.camera)
        self._inputs = [
            self._subscribe(Image, camera.color, self._on_image, sensor("realtime")),
            self._subscribe(CameraInfo, camera.info, self._on_info, sensor("realtime")),
            self._subscribe(JointState, self._drivers.joint_states, self._on_joints, joint_state_in("realtime")),
        ]
        self._finish = self.create_service(Trigger, "~/finish", self._on_finish)
        self._diagnostics = Diagnostics(self, self._config.robot, {"calibration": lambda: self._told})
        # Steady: works without a /clock as well.
        self._timer = self.create_timer(POLL_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _subscribe(self, kind: type, topic: str, handle: Callable, qos: QoSProfile) -> object:
        def receive(message: object) -> None:
            try:
                handle(message)
            except ValueError as error:
                self._tell(Level.ERROR, f"{topic}: {error}")

        return self.create_subscription(kind, topic, receive, qos)

    def _on_info(self, message: CameraInfo) -> None:
        if self._session is None:
            self._session = HandEyeSession(
                self._board,
                self._kinematics,
                self._config.camera,
                self._tool_frame,
                self._config.setup,
                self._config.joint_noise_deg,
                _lens(message),
                self._config.poses,
            )

    def _on_joints(self, message: JointState) -> None:
        if (measured := self._joint_states.add(message)) is not None:
            self._joints.add(measured.time, measured.positions)

    def _on_image(self, message: Image) -> None:
        if self._image is None:  # else one waits already, for joint states that reach beyond it
            self._image = seconds(message.header.stamp), rgb_from_image(message)

    def _look(self) -> None:
        if self._session is None or self._image is None or self.exit_code is not None:
            return
        stamp, rgb = self._image
        wait = self._session.needs_joints_s
        if wait >= 0 and self._joints.newest < stamp + wait:
            self._tell(Level.WARN, "waiting for joint states as new as the images")
            return
        self._image = None
        verdict = self._session.offer(rgb, stamp, self._joints)
        missing = "; ".join(self._session.missing())
        taken = "taken" if verdict.accepted else "not taken"
        self._tell(Level.OK, f"{taken}: {verdict.reason}. Missing: {missing or 'nothing'}", verdict.accepted)
        if not missing:
            self._end()

    def _tell(self, level: Level, text: str, at_once: bool = False) -> None:
        self._told = Health(level, text)
        if at_once:
            self.get_logger().info(text)
            self._diagnostics.publish()
        else:
            self.get_logger().info(text, throttle_duration_sec=LOG_PERIOD_S)

    def _on_finish(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._session is None:
            response.message = "expected camera_info first, found none"
            return response
        self._end()
        response.success, response.message = self.exit_code == 0, self._told.message
        return response

    def _end(self) -> None:
        try:
            text, self.exit_code = self._session.finish(Path(self._config.output)), 0
            self._tell(Level.OK, f"{text}\nwritten to {self._config.output}", at_once=True)
        except (ValueError, OSError) as error:
            self.exit_code = 1
            self._told = Health(Level.ERROR, f"no result: {error}")
            self.get_logger().error(self._told.message)
            self._diagnostics.publish()


def _lens(message: CameraInfo) -> CameraIntrinsics:
    """Intrinsics of raw or rectified images.

    Raises:
        ValueError: the camera is uncalibrated, or its distortion is not plumb_bob.
    """
    matrix = np.array(message.k, dtype=np.float64).reshape(3, 3)
    if not (matrix[0, 0] > 0 and matrix[1, 1] > 0 and np.isfinite(matrix).all()):
        raise ValueError(f"camera_info: expected a calibrated camera (k[0] > 0), found k = {list(message.k)}")
    distortion = np.array(message.d, dtype=np.float64)
    if len(distortion) > 5 or not np.isfinite(distortion).all():
        raise ValueError(f"camera_info: expected plumb_bob, at most 5 finite coefficients, found {list(message.d)}")
    return CameraIntrinsics(matrix, np.pad(distortion, (0, 5 - len(distortion))), (message.height, message.width))


def main(args: Sequence[str] | None = None) -> int:
    """Calibrate; returns the exit code: 0 with a result, 1 without, 2 for wrong parameters."""
    use_shared_memory_profile()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    stop = stop_on_signals()
    try:
        node = CalibrateCameras()
    except ValueError as error:
        get_logger("calibrate_cameras").fatal(f"not started: {error}")
        rclpy.try_shutdown()
        return 2
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while node.exit_code is None and not stop.is_set():
        executor.spin_once(timeout_sec=POLL_S)
    code = 1 if node.exit_code is None else node.exit_code
    executor.spin_once(timeout_sec=POLL_S)  # the answer of ~/finish goes out
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    return code


if __name__ == "__main__":
    sys.exit(main())
