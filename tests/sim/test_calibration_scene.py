from __future__ import annotations

import numpy as np
import pytest

from policies.calibrate import main
from policies.calibration.files import write_camera_info, write_views
from policies.calibration.hand_eye import HandEyeView, calibrate_hand_eye
from policies.calibration.intrinsics import CameraIntrinsics
from policies.calibration.latency import estimate_latency
from policies.calibration.pose_diversity import distance
from sim.calibration_scene import SIZE, CalibrationNoise, CalibrationScene

POSES = 12
JOINT_NOISE_DEG = 0.03


@pytest.mark.parametrize("setup", ["eye_in_hand", "eye_to_hand"])
def test_the_mount_is_recovered_from_pictures(setup):
    """With the benchmark's image noise, and less joint noise, because there are fewer poses."""
    with CalibrationScene(setup, CalibrationNoise(joint_deg=JOINT_NOISE_DEG), seed=0) as scene:
        views = [
            HandEyeView.at(scene.board.detect(rgb), scene.kinematics, scene.reported(q), scene.tool_frame)
            for q, rgb in scene.views(POSES)
        ]
        result = calibrate_hand_eye(scene.board, views, scene.matrix, np.zeros(5), setup, JOINT_NOISE_DEG)
        metres, degrees = distance(result.parent_from_camera, scene.parent_from_camera)
    assert metres < 2e-3
    assert degrees < 0.2


def test_the_command_calibrates_from_a_folder(tmp_path, capsys):
    with CalibrationScene("eye_in_hand", CalibrationNoise(joint_deg=0.0), seed=1) as scene:
        positions, images = zip(*scene.views(8), strict=True)
        write_views(tmp_path, images, scene.robot.joint_names, positions)
        lens = CameraIntrinsics(scene.matrix, np.zeros(5), SIZE[::-1])
        write_camera_info(tmp_path / "camera_info.yaml", "wrist", lens)
        truth = scene.parent_from_camera[:3, 3]
    arguments = ["--camera", "wrist", "--tool-frame", "hand", "--output", str(tmp_path / "out")]
    assert main(["hand-eye", str(tmp_path), "--setup", "eye_in_hand", *arguments]) == 0
    out = capsys.readouterr().out
    found = np.array([float(value) for value in out.split("at (")[1].split(")")[0].split(",")])
    np.testing.assert_allclose(found, truth, atol=1e-3)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "parameters.yaml", "report.txt", "reprojections.png", "views",
    }  # fmt: skip
    assert main(["hand-eye", str(tmp_path / "lost"), "--setup", "eye_in_hand", *arguments]) == 1


def test_a_latency_is_found_from_pictures_of_a_moving_arm():
    """A camera of 15 Hz whose stamps are 47 ms late, and a wrist that turns to and fro."""
    latency = 0.047
    with CalibrationScene("eye_in_hand", CalibrationNoise(), seed=2) as scene:
        start, _ = next(scene.views(1))

        def joints(time):
            q = start.copy()
            q[6] += 0.06 * np.sin(2 * np.pi * 1.0 * time)
            return q

        captured = np.arange(0.6, 3.6, 1 / 15)
        detections = [scene.board.detect(scene.picture(joints(time))) for time in captured]
        joint_stamps = np.arange(0.0, 4.5, 0.01)
        positions = np.array([joints(time) for time in joint_stamps])
    estimate = estimate_latency(captured + latency, detections, joint_stamps, positions)
    assert estimate.latency_s == pytest.approx(latency, abs=5e-3)
