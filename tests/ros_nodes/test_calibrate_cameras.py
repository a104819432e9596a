from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_srvs.srv import Trigger

from policies.calibration.pose_diversity import distance
from policies.execution.camera_pose import CameraConfig, camera_pose
from ros_nodes import convert
from ros_nodes.calibrate_cameras import main
from ros_nodes.params import declare
from ros_nodes.qos import JOINT_STATE_OUT, STATUS, sensor
from sim.calibration_scene import CalibrationNoise, CalibrationScene
from tests.ros_nodes.fake_robot import SPEC, FakeRobot, node_process

TAKEN = "taken: pose"
VIEWS = 15


class Drivers:
    """Drivers of camera and arm of a simulated scene; stamps run ahead as fast as the test publishes."""

    def __init__(self, robot: FakeRobot, scene: CalibrationScene) -> None:
        self.robot, self.scene = robot, scene
        self.stamp = 100.0
        self.texts: list[str] = []
        node = robot.node
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, STATUS)
        self.joints = node.create_publisher(JointState, "calibrated/joint_states", JOINT_STATE_OUT)
        topics = f"camera/{scene.camera}/color"
        self.images = node.create_publisher(Image, f"{topics}/image_raw", sensor("lockstep"))
        self.infos = node.create_publisher(CameraInfo, f"{topics}/camera_info", sensor("lockstep"))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.texts += [status.message for status in message.status if status.name.endswith(": calibration")]

    def count_taken(self) -> int:
        return sum(TAKEN in text and not text.startswith("not") for text in dict.fromkeys(self.texts))

    def show(self, image: np.ndarray, q: np.ndarray) -> None:
        """A second of an arm that rests, and a picture in its middle."""
        self.stamp += 2.0
        frame = f"{self.scene.camera}_optical_frame"
        self.infos.publish(convert.camera_info_from_intrinsics(self.scene.matrix, image.shape[:2], self.stamp, frame))
        self.images.publish(convert.image_from_rgb(image, self.stamp, frame))
        for at in np.arange(-0.3, 0.31, 0.05):
            self.joints.publish(
                convert.joint_state_from_arrays(q, np.zeros_like(q), SPEC.joint_names, self.stamp + float(at))
            )


def parameters_of(path: Path, camera: str) -> CameraConfig:
    """What a `policy_node` in a namespace makes of the file."""
    context = Context()
    rclpy.init(args=["--ros-args", "--params-file", str(path)], context=context)
    node = rclpy.create_node("policy_node", context=context, namespace="/left")
    try:
        return declare(node, CameraConfig, f"camera.{camera}")
    finally:
        node.destroy_node()
        context.try_shutdown()


def test_views_are_collected_from_the_graph_and_policy_node_can_read_the_result(tmp_path: Path):
    noise = CalibrationNoise(pixel=2.0, blur_px=0.5, joint_deg=0.0)
    with CalibrationScene("eye_in_hand", noise, seed=3) as scene, FakeRobot("/calibrated") as robot:
        views = list(scene.views(VIEWS))
        output = tmp_path / "result"
        parameters = ("tool_frame:=hand", f"output:={output}")
        remap = ("joint_states:=calibrated/joint_states",)
        with node_process("calibrate_cameras", robot.namespace, *parameters, remap=remap) as process:
            drivers = Drivers(robot, scene)
            robot.wait_for(
                lambda: drivers.joints.get_subscription_count() and drivers.images.get_subscription_count(),
                "the node",
                180.0,
            )
            for number, (q, image) in enumerate(views):
                before = len(drivers.texts)
                while drivers.count_taken() <= number and process.poll() is None:
                    drivers.show(image, q)
                    heard = len(drivers.texts)
                    robot.wait_for(
                        lambda heard=heard: len(drivers.texts) > heard or process.poll() is not None, "an answer"
                    )
                    assert len(drivers.texts) < before + 60, drivers.texts[before:]
            robot.wait_for(lambda: process.poll() is not None, "the end of the node")
            assert process.returncode == 0
        config = parameters_of(output / "parameters.yaml", "wrist")
        q = np.array(SPEC.home)
        found = camera_pose(scene.kinematics, q, config.mount)
        truth = scene.kinematics.frame(q, "hand") @ scene.parent_from_camera
    metres, degrees = distance(found, truth)
    assert metres < 2e-3
    assert degrees < 0.2
    assert config.parent_frame == "hand"
    assert "residuals over" in (output / "report.txt").read_text()
    assert (output / "reprojections.png").stat().st_size > 0


def test_finishing_without_views_names_what_is_missing_and_ends_with_1(tmp_path: Path):
    parameters = ("task:=latency", "camera:=front", f"output:={tmp_path}")
    with (
        FakeRobot("/too_early", cameras=("front",)) as robot,
        node_process("calibrate_cameras", robot.namespace, *parameters) as process,
    ):
        robot.wait_for_diagnostic("calibrate_cameras: calibration", 0, "not taken: the board is not seen")
        response = robot.call(Trigger, "calibrate_cameras/finish")
        assert not response.success
        assert "expected at least 30 images of the board, found 0" in response.message
        robot.wait_for(lambda: process.poll() is not None, "the end of the node")
        assert process.returncode == 1
    assert not (tmp_path / "parameters.yaml").exists()


@pytest.mark.parametrize(
    ("parameter", "words"),
    [("tool_frame:=tail", "'tail'"), ("board.marker_m:=0.5", "marker_m"), ("task:=guess", "task")],
)
def test_wrong_parameters_are_refused_by_name(parameter, words, capfd):
    assert main(["--ros-args", "-r", "__ns:=/wrong", "-p", parameter]) == 2
    assert words in capfd.readouterr().err


def test_the_example_parameters_are_those_of_a_board(repository: Path):
    content = yaml.safe_load((repository / "ros_nodes" / "config" / "calibrate.yaml").read_text())
    board = content["/**/calibrate_cameras"]["ros__parameters"]["board"]
    assert set(board) == {"columns", "rows", "square_m", "marker_m", "dictionary"}
