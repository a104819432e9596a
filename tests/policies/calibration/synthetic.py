"""Views of a board, known exactly: projected corners, and pictures by a lens without distortion."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from policies.calibration.board import PIXEL_CENTRE, Board, BoardSpec, Detection
from policies.calibration.hand_eye import HandEyeView

BOARD = Board(BoardSpec())
MATRIX = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])
NO_DISTORTION = np.zeros(5)
SIZE = (480, 640)


def pose(rotation_deg: tuple[float, float, float], position: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.deg2rad(rotation_deg)).as_matrix()
    matrix[:3, 3] = position
    return matrix


MOUNT = pose((5.0, -8.0, 20.0), (0.03, -0.05, 0.06))
PLACE = pose((170.0, 10.0, 5.0), (0.5, 0.1, 0.02))


def project(
    camera_from_board: np.ndarray, matrix: np.ndarray = MATRIX, distortion: np.ndarray = NO_DISTORTION
) -> Detection:
    """All corners, by the plumb_bob equations of ROS."""
    points = BOARD.corners @ camera_from_board[:3, :3].T + camera_from_board[:3, 3]
    x, y = (points[:, :2] / points[:, 2:]).T
    k1, k2, p1, p2, k3 = distortion
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    distorted = np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
            np.ones_like(x),
        ]
    )
    return Detection(np.arange(len(points)), (matrix @ distorted)[:2].T)


def picture(camera_from_board: np.ndarray) -> np.ndarray:
    """The board before grey, (*SIZE, 3) uint8."""
    printed, scale = BOARD.picture(40), BOARD.spec.square_m / 40
    margin = BOARD.spec.margin_m
    # Of a pixel's index in the print: its centre lies half a pixel further, and the board begins after the margin.
    board_from_print = np.array([[scale, 0, 0.5 * scale - margin], [0, scale, 0.5 * scale - margin], [0, 0, 1]])
    plane = np.column_stack([camera_from_board[:3, 0], camera_from_board[:3, 1], camera_from_board[:3, 3]])
    index_from_pixel = np.array([[1, 0, -PIXEL_CENTRE], [0, 1, -PIXEL_CENTRE], [0, 0, 1]])
    homography = index_from_pixel @ MATRIX @ plane @ board_from_print
    seen = cv2.warpPerspective(printed, homography, SIZE[::-1], flags=cv2.INTER_AREA, borderValue=128)
    return np.repeat(cv2.GaussianBlur(seen, (0, 0), 0.6)[:, :, None], 3, axis=2)


def random_camera_from_board(rng: np.random.Generator, tilt_deg: float = 35.0) -> np.ndarray:
    facing = pose(tuple(rng.uniform(-tilt_deg, tilt_deg, 3)), (0, 0, 0))
    centre = np.array([*(0.5 * side for side in BOARD.spec.size_m), 0.0])
    facing[:3, 3] = (*rng.uniform(-0.06, 0.06, 2), rng.uniform(0.3, 0.5)) - facing[:3, :3] @ centre
    return facing


def views(setup: str, camera_from_board: list[np.ndarray]) -> list[HandEyeView]:
    """Views of an arm with the mount `MOUNT` and the board's place `PLACE`, and six exact joints."""
    made = []
    for seen in camera_from_board:
        carrier = PLACE @ np.linalg.inv(seen) @ np.linalg.inv(MOUNT)
        tool = carrier if setup == "eye_in_hand" else np.linalg.inv(carrier)
        made.append(HandEyeView(project(seen), tool, np.eye(6)))
    return made
