"""Hand-eye calibration in closed form, where the refinement starts.

After Park and Martin, "Robot Sensor Calibration: Solving AX = XB on the Euclidean Group", IEEE Transactions on Robotics
and Automation, 1994. Written out because the Python of OpenCV 5.0.0 lacks `calibrateHandEye`.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation


def solve_ax_xb(
    carriers: NDArray[np.float64], camera_from_board: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mount X and the board's place Z of carrier_i X camera_from_board_i = Z for all views i.

    Args:
        carriers: (n, 4, 4) poses of what X is fixed to, in the frame that Z is given in.
        camera_from_board: (n, 4, 4) of the same views.

    Returns:
        X = carrier_from_camera (4, 4) and Z (4, 4). Meaningless where the carriers do not turn about two axes: ask
        `pose_diversity` first.
    """
    rotations_a, shifts_a, shifts_b = [], [], []
    correlation = np.zeros((3, 3))
    for i, j in combinations(range(len(carriers)), 2):
        a = np.linalg.inv(carriers[j]) @ carriers[i]
        b = camera_from_board[j] @ np.linalg.inv(camera_from_board[i])
        rotations_a.append(a[:3, :3])
        shifts_a.append(a[:3, 3])
        shifts_b.append(b[:3, 3])
        turn_a = Rotation.from_matrix(a[:3, :3]).as_rotvec()
        turn_b = Rotation.from_matrix(b[:3, :3]).as_rotvec()
        correlation += np.outer(turn_a, turn_b)
    # A X = X B gives log(A) = R log(B): the rotation that aligns the two sets of rotation vectors best.
    u, _, vt = np.linalg.svd(correlation)
    rotation = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    left = np.concatenate([r - np.eye(3) for r in rotations_a])
    right = np.concatenate([rotation @ b - a for a, b in zip(shifts_a, shifts_b, strict=True)])
    mount = np.eye(4)
    mount[:3, :3], mount[:3, 3] = rotation, np.linalg.lstsq(left, right, rcond=None)[0]
    places = carriers @ mount @ camera_from_board
    board = np.eye(4)
    board[:3, :3] = Rotation.from_matrix(places[:, :3, :3]).mean().as_matrix()
    board[:3, 3] = np.median(places[:, :3, 3], axis=0)
    return mount, board
