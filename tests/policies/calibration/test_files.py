from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from policies.calibration.files import read_camera_info, read_images, read_views, write_camera_info, write_views
from policies.calibration.intrinsics import CameraIntrinsics

LENS = CameraIntrinsics(
    np.array([[600.5, 0, 321.25], [0, 601, 239.5], [0, 0, 1]]), np.array([-0.1, 0.02, 0, 1e-3, 0]), (480, 640)
)


def test_a_camera_info_file_comes_back_and_has_opencvs_pixel_convention(tmp_path: Path):
    path = tmp_path / "camera_info.yaml"
    write_camera_info(path, "wrist", LENS)
    again = read_camera_info(path)
    np.testing.assert_allclose(again.matrix, LENS.matrix)
    np.testing.assert_array_equal(again.distortion, LENS.distortion)
    assert again.size == (480, 640)
    content = yaml.safe_load(path.read_text())
    assert content["camera_matrix"] == {"rows": 3, "cols": 3, "data": [600.5, 0, 320.75, 0, 601, 239.0, 0, 0, 1]}
    assert (content["image_width"], content["distortion_model"]) == (640, "plumb_bob")
    assert content["projection_matrix"]["cols"] == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"distortion_model": "equidistant"}, "distortion_model: expected plumb_bob"),
        ({"image_width": "wide"}, "positive whole numbers"),
        ({"camera_matrix": {"data": [1, 2]}}, "camera_matrix: expected data of 9"),
        ({"distortion_coefficients": {"data": [0, 0, 0, 0, float("nan")]}}, "distortion_coefficients"),
    ],
)
def test_a_malformed_camera_info_file_is_refused_by_field(tmp_path: Path, change, words):
    path = tmp_path / "camera_info.yaml"
    write_camera_info(path, "wrist", LENS)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | change))
    with pytest.raises(ValueError, match=words):
        read_camera_info(path)


def test_views_come_back_with_joints_by_name(tmp_path: Path):
    images = [np.full((4, 6, 3), value, np.uint8) for value in (10, 200)]
    write_views(tmp_path, images, ("a", "b"), [np.array([0.1, -0.2]), np.array([1 / 3, 2.0])])
    again, positions = read_views(tmp_path, ("b", "a"))
    np.testing.assert_array_equal(again, images)
    np.testing.assert_array_equal(positions, [[-0.2, 0.1], [2.0, 1 / 3]])
    np.testing.assert_array_equal(read_images(tmp_path), images)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,a\n000.png,1\n", "missing b"),
        ("image,a,b\n000.png,1,nan\n", "line 2: expected finite"),
        ("image,a,b\n000.png,1,x\n", "line 2: expected finite"),
        ("image,a,b\n../secret.png,1,2\n", "the name of a file in this folder"),
        ("image,a,b\nlost.png,1,2\n", "lost.png"),
    ],
)
def test_a_malformed_folder_is_refused_by_line(tmp_path: Path, text, words):
    write_views(tmp_path, [np.zeros((4, 6, 3), np.uint8)], (), None)
    (tmp_path / "joints.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_views(tmp_path, ("a", "b"))
