"""Where a camera is fixed, from views of a board at known arm poses.

Eye in hand: the camera is on the tool and the board stands still. Eye to hand: the camera stands still and the board
is in the gripper. Both are one equation, carrier_i X camera_from_board_i = Z, with the unknown mount X and board
place Z: the carrier is base_from_tool in the first case and its inverse in the second. A closed form starts it; then
X and Z are refined together over the distances of seen and predicted corners in all views. These errors have two
sources, the detector and the joints, and an arm is less exact than a corner: the covariance of a view's errors,
s_px^2 I + s_q^2 J J^T with J the motion of its corners per joint, weighs them (generalised least squares). Plain
squares of pixels would give wrong mounts. The loss is robust, and corners that contradict their own board are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from policies.calibration.board import Board, Detection
from policies.calibration.closed_form import solve_ax_xb
from policies.calibration.pose_diversity import check_determined, distance
from policies.execution.kinematics import Kinematics

Setup = Literal["eye_in_hand", "eye_to_hand"]

CORNER_NOISE_PX = 0.2
LOSS_SCALE = 3.0
"""Standard deviations from which on a residual counts less."""

WEIGHTING_ROUNDS = 2
MAX_CORNER_ERROR_PX = 1.0
OUTLIER_FACTOR = 5.0
"""A corner that is further than both from where the rest of its board puts it was detected wrongly."""

_STEP = 1e-6
MAX_RMS_PX = 10.0
"""Beyond it the views contradict each other: a wrong board, wrong joints, or a board that moved."""


@dataclass(frozen=True, slots=True)
class HandEyeView:
    """One picture of the board.

    Attributes:
        detection: the corners in it.
        base_from_tool: (4, 4) pose of the tool frame when it was taken.
        jacobian: (6, n) m and rad per rad (m) of a joint: how the tool frame moves and turns, in the base frame.
    """

    detection: Detection
    base_from_tool: NDArray[np.float64]
    jacobian: NDArray[np.float64]

    @classmethod
    def at(
        cls, detection: Detection, kinematics: Kinematics, joint_positions: NDArray[np.float64], tool_frame: str
    ) -> HandEyeView:
        """The view that was taken at joint positions (n,)."""
        pose = kinematics.frame(joint_positions, tool_frame)
        columns = []
        for joint in kinematics.spec.arm_joints:
            moved = joint_positions.copy()
            moved[joint] += _STEP
            after = kinematics.frame(moved, tool_frame)
            turn = Rotation.from_matrix(after[:3, :3] @ pose[:3, :3].T).as_rotvec()
            columns.append(np.concatenate([after[:3, 3] - pose[:3, 3], turn]) / _STEP)
        return cls(detection, pose, np.stack(columns, axis=1))


@dataclass(frozen=True, slots=True)
class HandEyeCalibration:
    """A camera's mount and how well it explains the views.

    Attributes:
        setup: which of the two is carried.
        parent_from_camera: (4, 4) of the optical frame: in the tool frame (eye in hand) or base frame (eye to hand).
        board_pose: (4, 4) of the board: in the base frame (eye in hand) or tool frame (eye to hand).
        predicted: (n, 2) pixels by view: where the calibration says that the detected corners are.
        residual_px: (views,) root mean square distance of seen and predicted corners, pixels.
        residual_mm: (views,) distance of the board as seen and as predicted, mm.
        residual_deg: (views,) angle between them, degrees.
    """

    setup: Setup
    parent_from_camera: NDArray[np.float64]
    board_pose: NDArray[np.float64]
    predicted: tuple[NDArray[np.float64], ...]
    residual_px: NDArray[np.float64]
    residual_mm: NDArray[np.float64]
    residual_deg: NDArray[np.float64]

    @property
    def rms_px(self) -> float:
        """Root mean square of `residual_px`."""
        return float(np.sqrt(np.mean(self.residual_px**2)))


def carriers(base_from_tool: NDArray[np.float64], setup: Setup) -> NDArray[np.float64]:
    """(n, 4, 4) poses of what the camera is fixed to, seen from what the board is fixed to."""
    return base_from_tool if setup == "eye_in_hand" else np.asarray(np.linalg.inv(base_from_tool), dtype=np.float64)


def calibrate_hand_eye(
    board: Board,
    views: Sequence[HandEyeView],
    matrix: NDArray[np.float64],
    distortion: NDArray[np.float64],
    setup: Setup,
    joint_noise_deg: float = 0.1,
) -> HandEyeCalibration:
    """Compute a camera's mount.

    Args:
        board: the board in the views.
        views: at least `LEAST_POSES`, with rotations about two axes.
        matrix: (3, 3) camera matrix, pixels; the centre of the top-left pixel is (0.5, 0.5).
        distortion: (5,) plumb_bob coefficients; zeros for rectified images.
        setup: what is carried.
        joint_noise_deg: standard deviation of the error of a joint, degrees.

    Raises:
        ValueError: the poses do not determine the mount, or the views contradict each other.
    """
    poses = np.array([view.base_from_tool for view in views]).reshape(-1, 4, 4)
    check_determined(poses)
    moving = carriers(poses, setup)
    good = [replace(view, detection=_consistent(board, view.detection, matrix, distortion)) for view in views]
    seen = np.array([board.pose(view.detection, matrix, distortion) for view in good])
    mount, place = solve_ax_xb(moving, seen)
    problem = _Refinement(board, good, matrix, distortion, setup, np.deg2rad(joint_noise_deg))
    mount, place = problem.solve(mount, place)
    expected = np.linalg.inv(moving @ mount) @ place
    predicted = [problem.project(view, pose) for view, pose in zip(views, expected, strict=True)]
    squares = [np.sum((p - v.detection.pixels) ** 2, axis=1) for p, v in zip(predicted, views, strict=True)]
    offsets = np.array([distance(e, s) for e, s in zip(expected, seen, strict=True)])
    pixels = np.sqrt([np.mean(square) for square in squares])
    result = HandEyeCalibration(setup, mount, place, tuple(predicted), pixels, 1e3 * offsets[:, 0], offsets[:, 1])
    if not result.rms_px <= MAX_RMS_PX:
        raise ValueError(
            f"hand-eye calibration: expected at most {MAX_RMS_PX} px between seen and predicted corners, found "
            f"{result.rms_px:.1f}; check the board's sizes, the joints' names and units, the setup '{setup}', and that "
            "what should stand still did"
        )
    return result


def _consistent(board: Board, detection: Detection, matrix: NDArray, distortion: NDArray) -> Detection:
    """The corners that a pose of the flat board explains."""
    pose = board.pose(detection, matrix, distortion)
    turn = cv2.Rodrigues(pose[:3, :3])[0]
    pixels, _ = cv2.projectPoints(board.corners[detection.ids], turn, pose[:3, 3], matrix, distortion)
    errors = np.linalg.norm(pixels.reshape(-1, 2) - detection.pixels, axis=1)
    good = errors <= max(MAX_CORNER_ERROR_PX, OUTLIER_FACTOR * float(np.median(errors)))
    return Detection(detection.ids[good], detection.pixels[good])


class _Refinement:
    """The weighted least-squares problem of mount (6) and board place (6): rotation vectors and metres."""

    def __init__(
        self,
        board: Board,
        views: Sequence[HandEyeView],
        matrix: NDArray[np.float64],
        distortion: NDArray[np.float64],
        setup: Setup,
        joint_noise: float,
    ) -> None:
        self._board, self._views, self._matrix, self._distortion = board, views, matrix, distortion
        self._setup: Setup = setup
        self._joint_noise = joint_noise

    def solve(
        self, mount: NDArray[np.float64], place: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Refine mount and place, (4, 4) each."""
        for _ in range(WEIGHTING_ROUNDS):
            weights = [self._weight(view, mount, place) for view in self._views]
            start = np.concatenate([_to_vector(mount), _to_vector(place)])
            found = least_squares(self._residuals, start, args=(weights,), loss="soft_l1", f_scale=LOSS_SCALE).x
            mount, place = _to_pose(found[:6]), _to_pose(found[6:])
        return mount, place

    def project(self, view: HandEyeView, camera_from_board: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2) pixels at which a view's corners appear."""
        points, turn = self._board.corners[view.detection.ids], cv2.Rodrigues(camera_from_board[:3, :3])[0]
        pixels, _ = cv2.projectPoints(points, turn, camera_from_board[:3, 3], self._matrix, self._distortion)
        return pixels.reshape(-1, 2)

    def _errors(self, view: HandEyeView, tool: NDArray, mount: NDArray, place: NDArray) -> NDArray[np.float64]:
        """(2n,) pixels: predicted less seen corners, if the tool frame is at `tool`."""
        camera_from_board = np.linalg.inv(carriers(tool, self._setup) @ mount) @ place
        return (self.project(view, camera_from_board) - view.detection.pixels).ravel()

    def _weight(self, view: HandEyeView, mount: NDArray, place: NDArray) -> NDArray[np.float64]:
        """Inverse square root of the covariance of a view's errors, (2n, 2n)."""
        still = self._errors(view, view.base_from_tool, mount, place)
        motions = []
        for twist in view.jacobian.T:
            moved = view.base_from_tool.copy()
            moved[:3, 3] += _STEP * twist[:3]
            moved[:3, :3] = Rotation.from_rotvec(_STEP * twist[3:]).as_matrix() @ moved[:3, :3]
            motions.append((self._errors(view, moved, mount, place) - still) / _STEP)
        motion = self._joint_noise * np.stack(motions, axis=1)
        values, vectors = np.linalg.eigh(CORNER_NOISE_PX**2 * np.eye(len(still)) + motion @ motion.T)
        return (vectors / np.sqrt(values)) @ vectors.T

    def _residuals(self, unknown: NDArray[np.float64], weights: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        mount, place = _to_pose(unknown[:6]), _to_pose(unknown[6:])
        return np.concatenate(
            [
                weight @ self._errors(view, view.base_from_tool, mount, place)
                for view, weight in zip(self._views, weights, strict=True)
            ]
        )


def _to_vector(pose: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([Rotation.from_matrix(pose[:3, :3]).as_rotvec(), pose[:3, 3]])


def _to_pose(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_rotvec(vector[:3]).as_matrix(), vector[3:]
    return pose
