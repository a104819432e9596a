from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_srvs.srv import Trigger

from policies.calibration.camera_parameters import read_camera_parameters
from policies.calibration.pose_diversity import distance
from policies.execution.camera_pose import CameraConfig, camera_pose
from ros_nodes import convert
from ros_nodes.calibrate_cameras import main
from ros_nodes.params import declare
from ros_nodes.qos import JOINT_STATE_OUT, STATUS, sensor
from sim.calibration_scene import CalibrationNoise, CalibrationScene
from tests.policies.calibration.synthetic import BOARD, MATRIX, picture, pose
from tests.ros_nodes.fake_robot import SPEC, FakeRobot

VIEWS = 15
OWN_JOINTS = ("joint_states:=calibrated/joint_states",)  # FakeRobot has joints of its own


class Drivers:
    """Drivers of camera and arm; stamps run ahead as fast as a thread publishes."""

    def __init__(self, robot: FakeRobot, camera: str, matrix: np.ndarray) -> None:
        self.camera, self.matrix = camera, matrix
        self.stamp = 100.0
        self.taken: set[str] = set()
        self.heard = threading.Event()
        node = robot.node
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, STATUS)
        self.joints = node.create_publisher(JointState, "calibrated/joint_states", JOINT_STATE_OUT)
        topics = f"camera/{camera}/color"
        self.images = node.create_publisher(Image, f"{topics}/image_raw", sensor("lockstep"))
        self.infos = node.create_publisher(CameraInfo, f"{topics}/camera_info", sensor("lockstep"))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith(": calibration"):
                if status.message.startswith("taken: pose"):
                    self.taken.add(status.message)
                self.heard.set()

    def feed(self, views: list[tuple[np.ndarray, np.ndarray]], end: threading.Event) -> None:
        """Show each view until the node has taken it."""
        for number, (q, image) in enumerate(views):
            while len(self.taken) <= number and not end.is_set():
                self.heard.clear()
                self.show(image, q)
                self.heard.wait(1.0)

    def show(self, image: np.ndarray, q: np.ndarray) -> None:
        """Half a second of an arm that rests, and a picture in its middle."""
        self.stamp += 2.0
        self.take_picture(image, self.stamp)
        for at in np.linspace(-0.24, 0.24, 7):
            self.tell_joints(q, self.stamp + float(at))

    def take_picture(self, image: np.ndarray, stamp: float) -> None:
        frame = f"{self.camera}_optical_frame"
        self.infos.publish(convert.camera_info_from_intrinsics(self.matrix, image.shape[:2], stamp, frame))
        self.images.publish(convert.image_from_rgb(image, stamp, frame))

    def tell_joints(self, q: np.ndarray, stamp: float) -> None:
        self.joints.publish(convert.joint_state_from_arrays(q, np.zeros_like(q), SPEC.joint_names, stamp))

    def turn_a_board(self, end: threading.Event) -> None:
        """Show the board from anywhere, one view after the other, whatever becomes of it."""
        rng = np.random.default_rng(0)
        while not end.is_set():
            self.heard.clear()
            self.stamp += 1.0
            depth, facing = rng.uniform(0.28, 0.42), pose(tuple(rng.uniform(-30.0, 30.0, 3)), (0, 0, 0))
            centre = np.array([*(0.5 * side for side in BOARD.spec.size_m), 0.0])
            facing[:3, 3] = (*rng.uniform(-0.2, 0.2, 2) * (1.2 * depth, depth), depth) - facing[:3, :3] @ centre
            self.take_picture(picture(facing), self.stamp)
            self.heard.wait(1.0)

    def swing(self, latency_s: float, end: threading.Event) -> None:
        """The first joint moves to and fro before the board; pictures are stamped later than they were taken."""
        for tick in range(1200):
            if end.is_set():
                return
            q, at = SPEC.home.copy(), self.stamp + 0.05 * tick
            q[0] = 0.15 * np.sin(2 * np.pi * 0.4 * at)
            self.tell_joints(q, at)
            if tick % 4 == 0:
                self.heard.clear()
                self.take_picture(picture(pose((0, 0, np.rad2deg(q[0])), (-0.1, -0.07, 0.4))), at + latency_s)
                self.heard.wait(1.0)


@contextmanager
def running(work: Callable[..., None], *args: object) -> Iterator[None]:
    """A thread that works until it is told to end."""
    end = threading.Event()
    thread = threading.Thread(target=work, args=(*args, end), daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join(10.0)


@pytest.fixture
def run_main() -> Iterator[Callable[..., int]]:
    """The command in this process, with the signal handlers that it changes put back afterwards."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]

    def run(namespace: str, *parameters: str, remap: Sequence[str] = ()) -> int:
        arguments = [part for rule in (f"__ns:={namespace}", *remap) for part in ("-r", rule)]
        return main(["--ros-args", *arguments, *(part for parameter in parameters for part in ("-p", parameter))])

    yield run
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def parameters_of(path: Path, camera: str, namespace: str = "/left") -> CameraConfig:
    """What a `policy_node` in a namespace makes of the file."""
    context = Context()
    rclpy.init(args=["--ros-args", "--params-file", str(path)], context=context)
    node = rclpy.create_node("policy_node", context=context, namespace=namespace)
    try:
        return declare(node, CameraConfig, f"camera.{camera}")
    finally:
        node.destroy_node()
        context.try_shutdown()


def test_views_are_collected_from_the_graph_and_policy_node_can_read_the_result(tmp_path: Path, run_main):
    noise = CalibrationNoise(pixel=2.0, blur_px=0.5, joint_deg=0.0)
    with CalibrationScene("eye_in_hand", noise, seed=3) as scene, FakeRobot("/calibrated") as robot:
        drivers, views = Drivers(robot, scene.camera, scene.matrix), list(scene.views(VIEWS))
        with running(drivers.feed, views):
            asked = ("tool_frame:=hand", f"poses:={VIEWS}")
            assert run_main("/calibrated", *asked, f"output:={tmp_path}", remap=OWN_JOINTS) == 0
        config = parameters_of(tmp_path / "parameters.yaml", "wrist")
        found = camera_pose(scene.kinematics, SPEC.home, config.mount)
        truth = scene.kinematics.frame(SPEC.home, "hand") @ scene.parent_from_camera
    metres, degrees = distance(found, truth)
    assert metres < 2e-3
    assert degrees < 0.2
    assert config.parent_frame == "hand"
    assert "residuals over 15 views" in (tmp_path / "report.txt").read_text()
    assert (tmp_path / "reprojections.png").stat().st_size > 0


@pytest.mark.parametrize("namespace", ["", "/left", "/cell/left"])
@pytest.mark.parametrize(
    "nodes", ["/**/policy_node", "/**", "/*", "policy_node", "/left/policy_node", "/*/policy_node", "/left/**"]
)
def test_a_conversion_reads_of_a_parameter_file_what_policy_node_does(tmp_path: Path, nodes: str, namespace: str):
    file = tmp_path / "parameters.yaml"
    file.write_text(f'"{nodes}": {{ros__parameters: {{camera.wrist.latency_s: 0.25}}}}')
    try:
        found = read_camera_parameters([file], ("wrist",), namespace)["wrist"]
    except ValueError as error:
        assert "found those of cameras: none" in str(error)  # noqa: PT017
        found = CameraConfig()
    assert found == parameters_of(file, "wrist", namespace)


def test_a_lens_is_told_from_a_board_that_is_turned_before_it(tmp_path: Path, run_main):
    with FakeRobot("/lens") as robot:
        drivers = Drivers(robot, "wrist", MATRIX)
        with running(drivers.turn_a_board):
            assert run_main("/lens", "task:=intrinsics", f"output:={tmp_path}", remap=OWN_JOINTS) == 0
    found = yaml.safe_load((tmp_path / "camera_info.yaml").read_text())
    np.testing.assert_allclose(np.reshape(found["camera_matrix"]["data"], (3, 3)), MATRIX, atol=3.0)
    assert len(list((tmp_path / "views").glob("*.png"))) >= VIEWS


def test_how_late_a_camera_is_told_from_a_joint_that_swings(tmp_path: Path, run_main):
    with FakeRobot("/late") as robot:
        drivers = Drivers(robot, "wrist", MATRIX)
        with running(drivers.swing, 0.08):
            assert run_main("/late", "task:=latency", f"output:={tmp_path}", remap=OWN_JOINTS) == 0
    assert parameters_of(tmp_path / "parameters.yaml", "wrist").latency_s == pytest.approx(0.08, abs=0.003)
    assert "wrist" in (tmp_path / "report.txt").read_text()


def test_finishing_without_views_names_what_is_missing_and_ends_with_1(tmp_path: Path, run_main):
    answers = []
    with FakeRobot("/too_early", cameras=("front",)) as robot:
        ask = threading.Thread(target=lambda: answers.append(robot.call(Trigger, "calibrate_cameras/finish")))
        ask.start()
        assert run_main("/too_early", "task:=latency", "camera:=front", f"output:={tmp_path}") == 1
        ask.join(60.0)
    assert not answers[0].success
    assert "expected at least 30 images of the board, found 0" in answers[0].message
    assert not (tmp_path / "parameters.yaml").exists()


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ("tool_frame:=tail", "'tail'"),
        ("board.marker_m:=0.5", "marker_m"),
        ("task:=guess", "task"),
        ("poses:=5", "poses"),
    ],
)
def test_wrong_parameters_are_refused_by_name(parameter, words, capfd, run_main):
    assert run_main("/wrong", parameter) == 2
    assert words in capfd.readouterr().err


def test_the_example_parameters_are_those_of_a_board(repository: Path):
    content = yaml.safe_load((repository / "ros_nodes" / "config" / "calibrate.yaml").read_text())
    board = content["/**/calibrate_cameras"]["ros__parameters"]["board"]
    assert set(board) == {"columns", "rows", "square_m", "marker_m", "dictionary"}
