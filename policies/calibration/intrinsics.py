"""Camera matrix and distortion (plumb_bob) from views of a board, and whether the views are good for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from policies.calibration.board import Board, Detection

LEAST_VIEWS = 8
WANTED_VIEWS = 15
GRID = 4
"""The image is divided into GRID x GRID cells; views must have corners in most of them."""
LEAST_COVERAGE = 0.8
TILTED_DEG = 15.0
LEAST_TILTED = 4
"""Views whose board leans `TILTED_DEG` or more: without them focal length and distance cannot be told apart."""


@dataclass(frozen=True, slots=True)
class CameraIntrinsics:
    """What a lens does.

    Attributes:
        matrix: (3, 3) pixels; the centre of the top-left pixel is (0.5, 0.5).
        distortion: (5,) plumb_bob k1, k2, p1, p2, k3.
        size: (height, width) of the images, pixels.
    """

    matrix: NDArray[np.float64]
    distortion: NDArray[np.float64]
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class IntrinsicCalibration:
    """Intrinsics and how well they explain the views.

    Attributes:
        intrinsics: the result.
        residual_px: (views,) root mean square distance of seen and predicted corners, pixels.
        deviations: (4,) standard deviations of fx, fy, cx, cy, pixels.
        coverage: share of the image's cells in which corners were seen.
    """

    intrinsics: CameraIntrinsics
    residual_px: NDArray[np.float64]
    deviations: NDArray[np.float64]
    coverage: float

    @property
    def rms_px(self) -> float:
        """Root mean square of `residual_px`."""
        return float(np.sqrt(np.mean(self.residual_px**2)))


def covered_cells(detections: Sequence[Detection], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(GRID, GRID) whether corners were seen in each cell of images of (height, width)."""
    covered = np.zeros((GRID, GRID), dtype=bool)
    for detection in detections:
        cells = np.clip((detection.pixels[:, ::-1] / size * GRID).astype(int), 0, GRID - 1)
        covered[cells[:, 0], cells[:, 1]] = True
    return covered


def missing_views(board: Board, detections: Sequence[Detection], size: tuple[int, int]) -> list[str]:
    """What the views still lack, in words for the person who moves the board or the arm."""
    lacks = []
    if len(detections) < WANTED_VIEWS:
        lacks.append(f"{WANTED_VIEWS - len(detections)} more views")
    covered = covered_cells(detections, size)
    if covered.mean() < LEAST_COVERAGE:
        row, column = np.argwhere(~covered)[0]
        lacks.append(
            f"board in row {row + 1}, column {column + 1} of the image's {GRID} x {GRID} cells "
            f"({covered.mean():.0%} covered, {LEAST_COVERAGE:.0%} needed)"
        )
    tilted = sum(_tilt_deg(board, detection, size) >= TILTED_DEG for detection in detections)
    if tilted < LEAST_TILTED:
        lacks.append(f"{LEAST_TILTED - tilted} more views with the board tilted by {TILTED_DEG:.0f} degrees or more")
    return lacks


def calibrate_intrinsics(board: Board, detections: Sequence[Detection], size: tuple[int, int]) -> IntrinsicCalibration:
    """Compute camera matrix and distortion.

    Args:
        board: the board in the views.
        detections: its corners, at least `LEAST_VIEWS` views that cover the image, some with the board tilted.
        size: (height, width) of the images.

    Raises:
        ValueError: the views do not determine the lens; says what they lack.
    """
    lacks = [lack for lack in missing_views(board, detections, size) if not lack.endswith("more views")]
    if len(detections) < LEAST_VIEWS:
        lacks.insert(0, f"at least {LEAST_VIEWS} views, found {len(detections)}")
    if lacks:
        raise ValueError(f"intrinsic calibration: expected {'; '.join(lacks)}")
    points = [board.corners[detection.ids].astype(np.float32) for detection in detections]
    pixels = [detection.pixels.astype(np.float32) for detection in detections]
    found = cv2.calibrateCameraExtended(points, pixels, size[::-1], None, None)
    matrix, distortion, deviations, errors = found[1], found[2], found[5], found[7]
    intrinsics = CameraIntrinsics(np.asarray(matrix, dtype=np.float64), np.ravel(distortion)[:5].astype(float), size)
    coverage = float(covered_cells(detections, size).mean())
    return IntrinsicCalibration(intrinsics, np.ravel(errors), np.ravel(deviations)[:4], coverage)


def _tilt_deg(board: Board, detection: Detection, size: tuple[int, int]) -> float:
    """Angle between the board's normal and the optical axis, with a guessed lens."""
    height, width = size
    guess = np.array([[width, 0.0, 0.5 * width], [0.0, width, 0.5 * height], [0.0, 0.0, 1.0]])
    try:
        pose = board.pose(detection, guess, np.zeros(5))
    except ValueError:
        return 0.0
    return float(np.rad2deg(np.arccos(np.clip(abs(pose[2, 2]), 0.0, 1.0))))
