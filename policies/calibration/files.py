"""Files of a calibration: node parameters, `camera_info` as ROS's camera_info_manager has it, and folders of views.

A folder of views holds PNG images and, where an arm moved, `joints.csv`: a column `image` with the file's name and one
column per joint, rad (m).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from policies.calibration.board import PIXEL_CENTRE
from policies.calibration.hand_eye import HandEyeCalibration
from policies.calibration.intrinsics import CameraIntrinsics

MAX_BYTES = 64 * 2**20
MAX_IMAGES = 1000
JOINTS_FILE = "joints.csv"
POLICY_NODE = "policy_node"


def mount_parameters(camera: str, calibration: HandEyeCalibration, parent_frame: str) -> dict[str, Any]:
    """Parameters of `policy_node` that say where a camera is fixed."""
    pose = calibration.parent_from_camera
    return {
        f"camera.{camera}.parent_frame": parent_frame,
        f"camera.{camera}.position": [float(value) for value in pose[:3, 3]],
        f"camera.{camera}.quaternion_xyzw": [float(v) for v in Rotation.from_matrix(pose[:3, :3]).as_quat()],
    }


def write_parameters(path: Path, node: str, parameters: Mapping[str, Any]) -> None:
    """Write a ROS parameter file for one node, in any namespace."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({f"/**/{node}": {"ros__parameters": dict(parameters)}}, sort_keys=False))


def write_camera_info(path: Path, camera: str, intrinsics: CameraIntrinsics) -> None:
    """Write intrinsics for camera drivers; in the file the centre of the top-left pixel is (0, 0), as OpenCV has it."""
    matrix = intrinsics.matrix.copy()
    matrix[:2, 2] -= PIXEL_CENTRE
    projection = np.hstack([matrix, np.zeros((3, 1))])
    height, width = intrinsics.size
    content = {
        "image_width": width,
        "image_height": height,
        "camera_name": camera,
        "camera_matrix": _yaml_matrix(matrix),
        "distortion_model": "plumb_bob",
        "distortion_coefficients": _yaml_matrix(intrinsics.distortion[None]),
        "rectification_matrix": _yaml_matrix(np.eye(3)),
        "projection_matrix": _yaml_matrix(projection),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def read_camera_info(path: Path) -> CameraIntrinsics:
    """Read a file of `write_camera_info`, or of any camera_info_manager.

    Raises:
        ValueError: a field is missing, or has another type or size; names it.
        FileNotFoundError: no such file.
    """
    content = yaml.safe_load(_text(path))
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a mapping, found {type(content).__name__}")
    if content.get("distortion_model") != "plumb_bob":
        raise ValueError(f"{path}: distortion_model: expected plumb_bob, found {content.get('distortion_model')!r}")
    size = content.get("image_height"), content.get("image_width")
    if not all(isinstance(side, int) and side > 0 for side in size):
        raise ValueError(f"{path}: image_height, image_width: expected positive whole numbers, found {size}")
    matrix = _numbers(path, content, "camera_matrix", 9).reshape(3, 3)
    if not (matrix[0, 0] > 0 and matrix[1, 1] > 0):
        raise ValueError(
            f"{path}: camera_matrix: expected positive focal lengths, found {matrix[0, 0]}, {matrix[1, 1]}"
        )
    matrix[:2, 2] += PIXEL_CENTRE
    return CameraIntrinsics(matrix, _numbers(path, content, "distortion_coefficients", 5), size)


def write_views(
    folder: Path,
    images: Sequence[NDArray[np.uint8]],
    joint_names: Sequence[str],
    joint_positions: Sequence[NDArray[np.float64]] | None,
) -> None:
    """Write images (H, W, 3), and the joint positions (n,) of each where there are any."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{index:03d}.png" for index in range(len(images))]
    for name, image in zip(names, images, strict=True):
        if not cv2.imwrite(str(folder / name), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
            raise OSError(f"{folder / name}: the image could not be written")
    if joint_positions is None:
        return
    with (folder / JOINTS_FILE).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *joint_names])
        for name, positions in zip(names, joint_positions, strict=True):
            writer.writerow([name, *(repr(float(value)) for value in positions)])


def read_images(folder: Path) -> list[NDArray[np.uint8]]:
    """The PNG images (H, W, 3) of a folder, by name.

    Raises:
        ValueError: none, too many, of different sizes, or one that cannot be read.
    """
    paths = sorted(folder.glob("*.png"))
    if not 0 < len(paths) <= MAX_IMAGES:
        raise ValueError(f"{folder}: expected 1 to {MAX_IMAGES} PNG images, found {len(paths)}")
    return _same_size([_image(path) for path in paths], folder)


def read_views(folder: Path, joint_names: Sequence[str]) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.float64]]]:
    """Images (H, W, 3) and joint positions (n,) in the order of `joint_names`, by the rows of `joints.csv`.

    Raises:
        ValueError: a joint's column is missing, a value is not finite, or an image cannot be read.
        FileNotFoundError: no `joints.csv`.
    """
    path = folder / JOINTS_FILE
    rows = list(csv.DictReader(_text(path).splitlines()))
    if not 0 < len(rows) <= MAX_IMAGES:
        raise ValueError(f"{path}: expected 1 to {MAX_IMAGES} rows, found {len(rows)}")
    lacking = [name for name in ("image", *joint_names) if name not in rows[0]]
    if lacking:
        raise ValueError(f"{path}: expected columns image, {', '.join(joint_names)}, missing {', '.join(lacking)}")
    positions, images = [], []
    for number, row in enumerate(rows, start=2):
        try:
            values = np.array([float(row[name]) for name in joint_names])
        except (TypeError, ValueError):
            values = np.array([np.nan])
        if not np.isfinite(values).all():
            raise ValueError(f"{path}: line {number}: expected finite joint positions, found {list(row.values())}")
        if not row["image"] or Path(row["image"]).name != row["image"]:
            raise ValueError(
                f"{path}: line {number}: expected the name of a file in this folder, found {row['image']!r}"
            )
        positions.append(values)
        images.append(_image(folder / row["image"]))
    return _same_size(images, folder), positions


def _image(path: Path) -> NDArray[np.uint8]:
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: expected an image of at most {MAX_BYTES} bytes, found none or a larger one")
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: expected a PNG image, found something else")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _same_size(images: list[NDArray[np.uint8]], folder: Path) -> list[NDArray[np.uint8]]:
    sizes = {image.shape for image in images}
    if len(sizes) > 1:
        raise ValueError(f"{folder}: expected images of one size, found {sorted(sizes)}")
    return images


def _text(path: Path) -> str:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: expected at most {MAX_BYTES} bytes, found {path.stat().st_size}")
    return path.read_text()


def _yaml_matrix(values: NDArray[np.float64]) -> dict[str, Any]:
    return {"rows": values.shape[0], "cols": values.shape[1], "data": [float(value) for value in values.ravel()]}


def _numbers(path: Path, content: Mapping[str, Any], name: str, count: int) -> NDArray[np.float64]:
    entry = content.get(name)
    data = entry.get("data") if isinstance(entry, dict) else None
    valid = isinstance(data, list) and len(data) == count and all(isinstance(value, int | float) for value in data)
    if not valid or not np.isfinite(data).all():
        raise ValueError(f"{path}: {name}: expected data of {count} finite numbers, found {data}")
    return np.array(data, dtype=np.float64)
