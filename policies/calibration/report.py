"""What a person looks at after a calibration: residuals in words, and a picture of seen and predicted corners."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from policies.calibration.board import PIXEL_CENTRE, Detection
from policies.calibration.hand_eye import HandEyeCalibration
from policies.calibration.intrinsics import IntrinsicCalibration
from policies.calibration.latency import LatencyEstimate

SHEET_COLUMNS = 4
TILE_WIDTH = 480
SUBPIXEL_BITS = 4
GREEN, RED = (0, 200, 0), (255, 0, 0)


def hand_eye_text(camera: str, parent_frame: str, calibration: HandEyeCalibration) -> str:
    """The mount and its residuals."""
    x, y, z = calibration.parent_from_camera[:3, 3]
    return (
        f"camera {camera}, {calibration.setup}: optical frame at ({x:.4f}, {y:.4f}, {z:.4f}) m in {parent_frame}\n"
        f"residuals over {len(calibration.residual_px)} views, root mean square (largest): "
        f"{calibration.rms_px:.2f} ({calibration.residual_px.max():.2f}) px, "
        f"{_rms(calibration.residual_mm):.2f} ({calibration.residual_mm.max():.2f}) mm, "
        f"{_rms(calibration.residual_deg):.3f} ({calibration.residual_deg.max():.3f}) degrees"
    )


def intrinsics_text(camera: str, calibration: IntrinsicCalibration) -> str:
    """Camera matrix, distortion and residuals."""
    matrix, deviations = calibration.intrinsics.matrix, calibration.deviations
    values = (matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2])
    named = zip(("fx", "fy", "cx", "cy"), values, deviations, strict=True)
    return (
        f"camera {camera}: " + ", ".join(f"{name} {value:.2f} +- {sd:.2f}" for name, value, sd in named) + " px\n"
        f"distortion {np.array2string(calibration.intrinsics.distortion, precision=4, suppress_small=True)}\n"
        f"residuals over {len(calibration.residual_px)} views, root mean square (largest): {calibration.rms_px:.3f} "
        f"({calibration.residual_px.max():.3f}) px; {calibration.coverage:.0%} of the image covered"
    )


def latency_text(camera: str, estimate: LatencyEstimate) -> str:
    """The latency and what speaks for it."""
    return (
        f"camera {camera}: images are stamped {1e3 * estimate.latency_s:.1f} ms after their capture; over "
        f"{estimate.images} images the joint explains {estimate.explained:.2%} of the corners' motion "
        f"({estimate.explained_unshifted:.2%} without the shift)"
    )


def reprojections(
    images: Sequence[NDArray[np.uint8]], detections: Sequence[Detection], predicted: Sequence[NDArray[np.float64]]
) -> NDArray[np.uint8]:
    """Contact sheet of the views (H, W, 3): green circles are seen corners, red crosses predicted ones."""
    tiles = []
    for image, detection, pixels in zip(images, detections, predicted, strict=True):
        scale = TILE_WIDTH / image.shape[1]
        tile = cv2.resize(image, (TILE_WIDTH, round(image.shape[0] * scale)), interpolation=cv2.INTER_AREA)
        for seen in _fixed_point(detection.pixels * scale):
            cv2.circle(tile, seen, 5 << SUBPIXEL_BITS, GREEN, 1, cv2.LINE_AA, SUBPIXEL_BITS)
        for x, y in _fixed_point(pixels * scale):
            arm = 4 << SUBPIXEL_BITS
            cv2.line(tile, (x - arm, y), (x + arm, y), RED, 1, cv2.LINE_AA, SUBPIXEL_BITS)
            cv2.line(tile, (x, y - arm), (x, y + arm), RED, 1, cv2.LINE_AA, SUBPIXEL_BITS)
        tiles.append(tile)
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % SHEET_COLUMNS)
    rows = [np.hstack(tiles[start : start + SHEET_COLUMNS]) for start in range(0, len(tiles), SHEET_COLUMNS)]
    return np.vstack(rows)


def _fixed_point(pixels: NDArray[np.float64]) -> list[tuple[int, int]]:
    bounded = np.clip(pixels - PIXEL_CENTRE, -1e4, 1e4)
    return [(int(x), int(y)) for x, y in np.rint(bounded * 2**SUBPIXEL_BITS)]


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))
