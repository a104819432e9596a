from __future__ import annotations

from pathlib import Path

import pytest

from policies.calibration.camera_parameters import read_camera_parameters
from policies.calibration.files import POLICY_NODE, write_parameters
from policies.execution.camera_pose import CameraConfig

MOUNT = {"parent_frame": "hand", "position": [0.1, 0.2, 0.3], "quaternion_xyzw": [0.0, 0.0, 0.0, 1.0]}


def written(path: Path, **parameters: object) -> Path:
    write_parameters(path, POLICY_NODE, {f"camera.wrist.{name}": value for name, value in parameters.items()})
    return path


def test_mount_and_latency_come_together_from_the_files_that_calibrations_write(tmp_path):
    files = written(tmp_path / "hand_eye.yaml", **MOUNT), written(tmp_path / "latency.yaml", latency_s=0.08)
    found = read_camera_parameters(files, ("front", "wrist"))
    assert found["wrist"] == CameraConfig("hand", (0.1, 0.2, 0.3), (0.0, 0.0, 0.0, 1.0), 0.08)
    assert found["front"] == CameraConfig()


def test_without_files_no_camera_is_calibrated():
    assert read_camera_parameters((), ("front",)) == {"front": CameraConfig()}


def test_of_two_values_the_later_one_holds(tmp_path):
    files = written(tmp_path / "old.yaml", latency_s=0.1), written(tmp_path / "new.yaml", latency_s=0.2)
    assert read_camera_parameters(files, ("wrist",))["wrist"].latency_s == 0.2


@pytest.mark.parametrize(
    "parameters",
    ["camera.wrist.latency_s: 0.25", "camera: {wrist: {latency_s: 0.25}}", "camera.wrist: {latency_s: 0.25}"],
)
def test_names_may_be_dotted_or_nested_and_other_parameters_stand_beside(tmp_path, parameters):
    path = tmp_path / "parameters.yaml"
    path.write_text(
        f"/**/policy_node:\n  ros__parameters:\n    sync.max_skew_s: 0.02\n    {parameters}\n"
        "/**/perception_node:\n  ros__parameters:\n    camera: front\n"
        "/**:\n  ros__parameters:\n    camera: front\n"
    )
    assert read_camera_parameters([path], ("wrist",))["wrist"].latency_s == 0.25


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("- 1", "expected a mapping, found"),
        ("policy_node: 3", r"policy_node\.ros__parameters: expected a mapping, found None"),
        ("camera.wrist.latency_s: 0.1", r"ros__parameters: expected a mapping, found None"),
        ("policy_node: {ros__parameters: {camera.wrist.delay: 0.1}}", r"camera\.wrist\.delay: expected camera\.<name>"),
        ("policy_node: {ros__parameters: {camera.latency_s: 0.1}}", r"camera\.latency_s: expected camera\.<name>"),
        ("policy_node: {ros__parameters: {camera.wrist.latency_s: soon}}", "expected a finite number, found 'soon'"),
        ("policy_node: {ros__parameters: {camera.wrist.latency_s: .nan}}", "expected a finite number, found nan"),
        ("policy_node: {ros__parameters: {camera.wrist.latency_s: 3.0}}", "expected a number from -1 to 1, found 3.0"),
        ("policy_node: {ros__parameters: {camera.wrist.position: [1.0]}}", "expected 3 finite numbers"),
        ("policy_node: {ros__parameters: {camera.wrist.parent_frame: 7}}", "expected a text, found 7"),
        ("policy_node: {ros__parameters: {camera.front.latency_s: 0.1}}", "for wrist, found those of cameras: front"),
        ("other_node: {ros__parameters: {camera.wrist.latency_s: 0.1}}", "for wrist, found those of cameras: none"),
        ("policy_node: {ros__parameters: !!python/object/apply:os.getcwd []}", "expected valid YAML"),
        ("policy_node: {ros__parameters: &own {camera: *own}}", "expected camera.<name>"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path, content, reason):
    path = tmp_path / "parameters.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=reason) as error:
        read_camera_parameters([path], ("wrist",))
    assert str(path) in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.yaml"):
        read_camera_parameters([tmp_path / "nothing.yaml"], ("wrist",))
