"""Collecting views one image at a time: what is taken, what is refused and why, what is still missing, and the result.

A session takes no time from a clock and sends nothing: a node, or a test, hands it images and joint positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from policies.calibration import pose_diversity, report
from policies.calibration.board import Board, Detection, blur_px
from policies.calibration.files import POLICY_NODE, mount_parameters, write_camera_info, write_parameters, write_views
from policies.calibration.hand_eye import HandEyeCalibration, HandEyeView, Setup, calibrate_hand_eye
from policies.calibration.intrinsics import CameraIntrinsics, calibrate_intrinsics, missing_views
from policies.calibration.joint_track import JointTrack
from policies.calibration.latency import LEAST_IMAGES, estimate_latency
from policies.execution.kinematics import Kinematics

REST_S = 0.2
"""The arm must have rested so long before an image, and for as long after it."""
MAX_REST_MOTION = 1e-3  # rad (m)
MAX_BLUR_PX = 2.0
NEAR_M, NEAR_DEG = 0.03, 5.0
NEAR_PX = 20.0
MAX_VIEWS = 100
LATENCY_RECORDING_S = 15.0
NOT_SEEN = "the board is not seen, or too little of it"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an image.

    Attributes:
        accepted: whether it is part of the calibration.
        reason: why not, or how many there are now.
    """

    accepted: bool
    reason: str


class Session(Protocol):
    """One calibration under way."""

    needs_joints_s: float
    """For how long after an image's stamp joint states must have come before it is offered; negative: none needed."""

    def offer(self, rgb: NDArray[np.uint8], stamp: float, joints: JointTrack) -> Verdict:
        """Look at an image (H, W, 3)."""

    def missing(self) -> list[str]:
        """What is still missing, in words; empty when the result can be computed."""

    def finish(self, folder: Path) -> str:
        """Compute and write the result; returns the report. Raises ValueError where the views do not suffice."""


class HandEyeSession:
    """Views of the board from a resting arm, from many sides, until there are `wanted_poses` of them."""

    needs_joints_s = REST_S

    def __init__(
        self,
        board: Board,
        kinematics: Kinematics,
        camera: str,
        tool_frame: str,
        setup: Setup,
        joint_noise_deg: float,
        intrinsics: CameraIntrinsics,
        wanted_poses: int = pose_diversity.WANTED_POSES,
    ) -> None:
        self._wanted_poses = wanted_poses
        self._board, self._kinematics, self._intrinsics = board, kinematics, intrinsics
        self._camera, self._tool_frame, self._setup = camera, tool_frame, setup
        self._joint_noise_deg = joint_noise_deg
        self._images: list[NDArray[np.uint8]] = []
        self._positions: list[NDArray[np.float64]] = []
        self._views: list[HandEyeView] = []

    def offer(self, rgb: NDArray[np.uint8], stamp: float, joints: JointTrack) -> Verdict:
        """Take the image if the arm rests in a new pose and shows the board sharply."""
        try:
            around = joints.between(stamp - REST_S, stamp + REST_S)
        except ValueError as error:
            return Verdict(False, str(error))
        motion = float(np.ptp(around, axis=0).max())
        if motion > MAX_REST_MOTION:
            return Verdict(False, f"the arm moves ({motion:.4f} rad within {2 * REST_S} s, {MAX_REST_MOTION} allowed)")
        return self.add(rgb, joints.between(stamp, stamp)[0])

    def add(self, rgb: NDArray[np.uint8], positions: NDArray[np.float64]) -> Verdict:
        """Take an image of an arm that rests at joint positions (n,), unless it adds nothing."""
        if rgb.shape[:2] != self._intrinsics.size:
            return Verdict(False, f"expected images of {self._intrinsics.size} as calibrated, found {rgb.shape[:2]}")
        detection, reason = _sharp_detection(self._board, rgb)
        if detection is None:
            return Verdict(False, reason)
        view = HandEyeView.at(detection, self._kinematics, positions, self._tool_frame)
        for number, other in enumerate(self._views, start=1):
            metres, degrees = pose_diversity.distance(view.base_from_tool, other.base_from_tool)
            if metres < NEAR_M and degrees < NEAR_DEG:
                return Verdict(False, f"too near to pose {number} ({1e3 * metres:.0f} mm, {degrees:.1f} degrees)")
        if len(self._views) == MAX_VIEWS:
            return Verdict(False, f"there are {MAX_VIEWS} poses already")
        self._images.append(rgb)
        self._positions.append(positions)
        self._views.append(view)
        return Verdict(True, f"pose {len(self._views)}, {len(detection.ids)} corners")

    def missing(self) -> list[str]:
        """Poses, and rotation axes."""
        poses = np.array([view.base_from_tool for view in self._views]).reshape(-1, 4, 4)
        return pose_diversity.missing(poses, self._wanted_poses)

    def solve(self) -> HandEyeCalibration:
        """Compute the mount; see `calibrate_hand_eye`."""
        lens = self._intrinsics
        return calibrate_hand_eye(
            self._board, self._views, lens.matrix, lens.distortion, self._setup, self._joint_noise_deg
        )

    def finish(self, folder: Path) -> str:
        """Write the views, then `parameters.yaml`, `reprojections.png` and `report.txt`."""
        write_views(folder / "views", self._images, self._kinematics.spec.joint_names, self._positions)
        write_camera_info(folder / "views" / "camera_info.yaml", self._camera, self._intrinsics)
        calibration = self.solve()
        spec = self._kinematics.spec
        parent = self._tool_frame if self._setup == "eye_in_hand" else spec.base_frame
        write_parameters(folder / "parameters.yaml", POLICY_NODE, mount_parameters(self._camera, calibration, parent))
        detections = [view.detection for view in self._views]
        _write_picture(
            folder / "reprojections.png", report.reprojections(self._images, detections, calibration.predicted)
        )
        return _write_report(folder, report.hand_eye_text(self._camera, parent, calibration))


class IntrinsicsSession:
    """Views of the board all over the image; the arm may rest or a hand may hold the board."""

    needs_joints_s = -1.0

    def __init__(self, board: Board, camera: str) -> None:
        self._board, self._camera = board, camera
        self._images: list[NDArray[np.uint8]] = []
        self._detections: list[Detection] = []

    def offer(self, rgb: NDArray[np.uint8], stamp: float, joints: JointTrack) -> Verdict:
        """Take the image if it shows the board sharply where it was not seen before."""
        if self._images and rgb.shape != self._images[0].shape:
            return Verdict(False, f"expected images of {self._images[0].shape[:2]}, found {rgb.shape[:2]}")
        detection, reason = _sharp_detection(self._board, rgb)
        if detection is None:
            return Verdict(False, reason)
        for number, other in enumerate(self._detections, start=1):
            moved = _moved_px(detection, other)
            if moved < NEAR_PX:
                return Verdict(False, f"too near to view {number} (corners {moved:.0f} px apart)")
        if len(self._images) == MAX_VIEWS:
            return Verdict(False, f"there are {MAX_VIEWS} views already")
        self._images.append(rgb)
        self._detections.append(detection)
        return Verdict(True, f"view {len(self._images)}, {len(detection.ids)} corners")

    def missing(self) -> list[str]:
        """Views, parts of the image, and tilts."""
        size = self._images[0].shape[:2] if self._images else (1, 1)
        return missing_views(self._board, self._detections, size)

    def finish(self, folder: Path) -> str:
        """Write the views, then `camera_info.yaml` and `report.txt`."""
        if not self._images:
            raise ValueError("intrinsic calibration: expected views of the board, found none")
        write_views(folder / "views", self._images, (), None)
        calibration = calibrate_intrinsics(self._board, self._detections, self._images[0].shape[:2])
        write_camera_info(folder / "camera_info.yaml", self._camera, calibration.intrinsics)
        return _write_report(folder, report.intrinsics_text(self._camera, calibration))


class LatencySession:
    """Every image of a board while one joint moves to and fro."""

    needs_joints_s = -1.0

    def __init__(self, board: Board, camera: str) -> None:
        self._board, self._camera = board, camera
        self._stamps: list[float] = []
        self._detections: list[Detection] = []
        self._joints = JointTrack(0.0)

    def offer(self, rgb: NDArray[np.uint8], stamp: float, joints: JointTrack) -> Verdict:
        """Take every image that shows the board."""
        self._joints = joints
        detection = self._board.detect(rgb)
        if detection is None:
            return Verdict(False, NOT_SEEN)
        if self._stamps and stamp <= self._stamps[-1]:
            self._stamps.clear()
            self._detections.clear()
        self._stamps.append(stamp)
        self._detections.append(detection)
        return Verdict(True, f"image {len(self._stamps)}")

    def missing(self) -> list[str]:
        """Images and time."""
        lacks = []
        if len(self._stamps) < LEAST_IMAGES:
            lacks.append(f"{LEAST_IMAGES - len(self._stamps)} more images of the board")
        seconds = self._stamps[-1] - self._stamps[0] if self._stamps else 0.0
        if seconds < LATENCY_RECORDING_S:
            lacks.append(f"{LATENCY_RECORDING_S - seconds:.0f} more seconds of one joint moving to and fro")
        return lacks

    def finish(self, folder: Path) -> str:
        """Write `parameters.yaml` and `report.txt`."""
        estimate = estimate_latency(self._stamps, self._detections, *self._joints.arrays())
        parameters = {f"camera.{self._camera}.latency_s": round(estimate.latency_s, 6)}
        write_parameters(folder / "parameters.yaml", POLICY_NODE, parameters)
        return _write_report(folder, report.latency_text(self._camera, estimate))


def _sharp_detection(board: Board, rgb: NDArray[np.uint8]) -> tuple[Detection | None, str]:
    detection = board.detect(rgb)
    if detection is None:
        return None, NOT_SEEN
    blur = blur_px(rgb, detection)
    if blur > MAX_BLUR_PX:
        return None, f"the image is blurred ({blur:.1f} px, {MAX_BLUR_PX} allowed)"
    return detection, ""


def _moved_px(first: Detection, second: Detection) -> float:
    """Largest distance of a corner that both show; infinite if there is none."""
    _, here, there = np.intersect1d(first.ids, second.ids, return_indices=True)
    return (
        float(np.linalg.norm(first.pixels[here] - second.pixels[there], axis=1).max(initial=0.0))
        if len(here)
        else np.inf
    )


def _write_picture(path: Path, rgb: NDArray[np.uint8]) -> None:
    if not cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path}: the picture could not be written")


def _write_report(folder: Path, text: str) -> str:
    (folder / "report.txt").write_text(text + "\n")
    return text
