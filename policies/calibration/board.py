"""The ChArUco board: its picture, where its corners are, and how sharply an image shows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

LEAST_CORNERS = 8
"""Fewer corners do not fix a pose well."""

PIXEL_CENTRE = 0.5
"""OpenCV gives the centre of the top-left pixel the coordinates (0, 0), this package (0.5, 0.5)."""

_EDGE_WINDOW = 6  # px about a corner

BoardDictionary = Literal["DICT_4X4_50", "DICT_4X4_100", "DICT_5X5_100", "DICT_5X5_250", "DICT_6X6_250"]


@dataclass(frozen=True, slots=True)
class BoardSpec:
    """Which board it is, as printed. Measure `square_m` on the print: it is the only scale.

    Attributes:
        columns: squares along x.
        rows: squares along y.
        square_m: side of a square, m.
        marker_m: side of a marker, m.
        dictionary: OpenCV's name of the marker dictionary.
    """

    columns: int = field(default=7, metadata={"range": (3, 30)})
    rows: int = field(default=5, metadata={"range": (3, 30)})
    square_m: float = field(default=0.03, metadata={"range": (0.001, 1.0)})
    marker_m: float = field(default=0.022, metadata={"range": (0.001, 1.0)})
    dictionary: BoardDictionary = "DICT_4X4_50"

    def __post_init__(self) -> None:
        if not 0 < self.marker_m < self.square_m:
            raise ValueError(f"marker_m: expected between 0 and square_m = {self.square_m}, found {self.marker_m}")
        markers, there = self.columns * self.rows // 2, int(self.dictionary.rsplit("_", 1)[1])
        if markers > there:
            raise ValueError(f"dictionary: expected at least {markers} markers, found {there} in {self.dictionary}")

    @property
    def size_m(self) -> tuple[float, float]:
        """Width and height of the squares together, m."""
        return self.columns * self.square_m, self.rows * self.square_m

    @property
    def margin_m(self) -> float:
        """White border that the picture has around the squares, m."""
        return 0.5 * self.square_m


@dataclass(frozen=True, slots=True)
class Detection:
    """The corners of a board in one image.

    Attributes:
        ids: (n,) places in `Board.corners`.
        pixels: (n, 2) x and y, pixels; the centre of the top-left pixel is (0.5, 0.5).
    """

    ids: NDArray[np.intp]
    pixels: NDArray[np.float64]


class Board:
    """A board that can be drawn and found.

    Attributes:
        spec: which board.
        corners: (m, 3) inner corners in the board frame, m: x along the columns, y along the rows, z into the board
            as its viewer sees it.
    """

    def __init__(self, spec: BoardSpec) -> None:
        self.spec = spec
        dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, spec.dictionary))
        self._board = cv2.aruco.CharucoBoard((spec.columns, spec.rows), spec.square_m, spec.marker_m, dictionary)
        parameters = cv2.aruco.DetectorParameters()
        parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
        self._detector = cv2.aruco.CharucoDetector(self._board, detectorParams=parameters)
        self.corners = np.asarray(self._board.getChessboardCorners(), dtype=np.float64)

    def picture(self, pixels_per_square: int) -> NDArray[np.uint8]:
        """The board in black and white with a margin of half a square, ((rows + 1) * p, (columns + 1) * p) pixels."""
        size = ((self.spec.columns + 1) * pixels_per_square, (self.spec.rows + 1) * pixels_per_square)
        return self._board.generateImage(size, marginSize=pixels_per_square // 2)

    def detect(self, rgb: NDArray[np.uint8]) -> Detection | None:
        """Find the board's corners in an image (H, W, 3); None if fewer than `LEAST_CORNERS`, or one line, are seen."""
        corners, ids, _, _ = self._detector.detectBoard(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
        if ids is None or len(ids) < LEAST_CORNERS:
            return None
        places = np.asarray(ids, dtype=np.intp).ravel()
        points = self.corners[places]
        if np.linalg.matrix_rank(points - points[0], tol=1e-6) < 2:
            return None
        return Detection(places, np.asarray(corners, dtype=np.float64).reshape(-1, 2) + PIXEL_CENTRE)

    def pose(
        self, detection: Detection, matrix: NDArray[np.float64], distortion: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The (4, 4) camera_from_board that explains a detection best.

        Args:
            detection: corners.
            matrix: (3, 3) camera matrix, pixels.
            distortion: (5,) plumb_bob k1, k2, p1, p2, k3.

        Raises:
            ValueError: no pose explains the corners.
        """
        points = self.corners[detection.ids]
        found, turn, place = cv2.solvePnP(points, detection.pixels, matrix, distortion, flags=cv2.SOLVEPNP_IPPE)
        if not found:
            raise ValueError("board: expected a pose that explains the corners, found none")
        turn, place = cv2.solvePnPRefineLM(points, detection.pixels, matrix, distortion, turn, place)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(turn)[0], place.ravel()
        return pose


def blur_px(rgb: NDArray[np.uint8], detection: Detection) -> float:
    """How blurred an image is at the board's corners: standard deviation of the blur, pixels.

    The steepest gradient of an edge of contrast c under a Gaussian blur s is c / (s sqrt(2 pi)). The pixels themselves
    blur too: a sharp image gives about 1. The median over the corners is taken.
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    height, width = grey.shape
    blurs = []
    for x, y in np.floor(detection.pixels).astype(int):
        top, left = max(0, y - _EDGE_WINDOW), max(0, x - _EDGE_WINDOW)
        window = grey[top : min(height, y + _EDGE_WINDOW + 1), left : min(width, x + _EDGE_WINDOW + 1)]
        slope = np.hypot(*np.gradient(window)).max()
        if slope > 0:
            blurs.append((window.max() - window.min()) / (slope * np.sqrt(2 * np.pi)))
    return float(np.median(blurs)) if blurs else float("inf")
