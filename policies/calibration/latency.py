"""How much later than the capture a camera's images are stamped, from a small motion of one joint to and fro.

While the arm moves, the board's corners in the image follow the joint. The corners, as a function of the joint's
position at the time of capture, lie on a smooth curve; with stamps that are late they make a loop. The latency is the
shift of the image stamps, in parts of a frame too, at which a polynomial of the joint's position explains the corners
best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize_scalar

from policies.calibration.board import Detection

MAX_LATENCY_S = 0.5
GRID_S = 0.005
DEGREE = 3
LEAST_IMAGES = 30
LEAST_MOTION_PX = 5.0
LEAST_TURNS = 3
LEAST_EXPLAINED = 0.98
"""Share of the corners' variance that the joint must explain at the best shift."""


@dataclass(frozen=True, slots=True)
class LatencyEstimate:
    """A camera's latency.

    Attributes:
        latency_s: how much later than the capture images are stamped, s; negative where stamps are early.
        explained: share of the corners' variance that the joint's motion explains at this shift.
        explained_unshifted: the same without a shift.
        images: how many images were used.
    """

    latency_s: float
    explained: float
    explained_unshifted: float
    images: int


def estimate_latency(
    image_stamps: Sequence[float],
    detections: Sequence[Detection],
    joint_stamps: Sequence[float],
    joint_positions: NDArray[np.float64],
) -> LatencyEstimate:
    """Estimate the latency of one camera's stamps against the joints'.

    Args:
        image_stamps: (n,) seconds.
        detections: the board's corners in these images.
        joint_stamps: (m,) seconds, increasing.
        joint_positions: (m, joints) rad (m), of the same clock; one joint moved, or all moved together.

    Raises:
        ValueError: too few images, no common corners, too little motion, or motion that the joints do not explain.
    """
    if len(detections) < LEAST_IMAGES:
        raise ValueError(f"latency: expected at least {LEAST_IMAGES} images of the board, found {len(detections)}")
    times, joints = np.asarray(joint_stamps, dtype=np.float64), np.asarray(joint_positions, dtype=np.float64)
    if len(times) < LEAST_IMAGES or not (np.diff(times) > 0).all():
        raise ValueError(f"latency: expected {LEAST_IMAGES} or more joint states of increasing stamps")
    pixels = _common_corners(detections)
    motion = float(np.ptp(pixels, axis=0).max())
    if motion < LEAST_MOTION_PX:
        raise ValueError(f"latency: expected corners that move {LEAST_MOTION_PX} px or more, found {motion:.1f} px")
    joint = _main_motion(joints)
    turns = _turning_points(joint)
    if turns < LEAST_TURNS:
        raise ValueError(f"latency: expected a joint that turns back {LEAST_TURNS} times or more, found {turns}")
    at = CubicSpline(times, joint)
    stamps = np.asarray(image_stamps, dtype=np.float64)
    # The same images at every shift, or scores could not be compared.
    inside = (stamps - MAX_LATENCY_S >= times[0]) & (stamps + MAX_LATENCY_S <= times[-1])
    if inside.sum() < LEAST_IMAGES:
        raise ValueError(
            f"latency: expected joint states from {MAX_LATENCY_S} s before to {MAX_LATENCY_S} s after at least "
            f"{LEAST_IMAGES} images, found {inside.sum()}"
        )
    stamps, pixels = stamps[inside], pixels[inside]

    def explained(latency: float) -> float:
        return _explained(at(stamps - latency), pixels)

    shifts = np.arange(-MAX_LATENCY_S, MAX_LATENCY_S + GRID_S, GRID_S)
    best = float(shifts[np.argmax([explained(shift) for shift in shifts])])
    found = minimize_scalar(
        lambda shift: -explained(shift),
        bounds=(best - GRID_S, best + GRID_S),
        method="bounded",
        options={"xatol": 1e-5},
    )
    latency, score = float(found.x), float(-found.fun)
    if score < LEAST_EXPLAINED or abs(latency) > MAX_LATENCY_S - GRID_S:
        raise ValueError(
            f"latency: expected a shift within {MAX_LATENCY_S} s at which the joint explains {LEAST_EXPLAINED:.0%} of "
            f"the corners' motion, found {score:.1%} at {latency:.3f} s; move one joint only, and nothing else"
        )
    return LatencyEstimate(latency, score, explained(0.0), len(stamps))


def _common_corners(detections: Sequence[Detection]) -> NDArray[np.float64]:
    """(n, 2 corners) pixels of the corners that all images show."""
    common = set(detections[0].ids.tolist()).intersection(*(detection.ids.tolist() for detection in detections))
    if not common:
        raise ValueError("latency: expected corners that every image shows, found none; make a smaller motion")
    rows = []
    for detection in detections:
        where = {corner: pixel for corner, pixel in zip(detection.ids.tolist(), detection.pixels, strict=True)}
        rows.append(np.concatenate([where[corner] for corner in sorted(common)]))
    return np.array(rows)


def _main_motion(joints: NDArray[np.float64]) -> NDArray[np.float64]:
    """(m,) motion along the direction in which the joints moved most, scaled to [-1, 1]."""
    centred = joints - joints.mean(axis=0)
    direction = np.linalg.svd(centred, full_matrices=False)[2][0]
    motion = centred @ direction
    span = np.ptp(motion)
    return 2 * (motion - motion.min()) / span - 1 if span > 0 else motion


def _turning_points(joint: NDArray[np.float64]) -> int:
    """How often the joint comes from one end of its motion to the other."""
    ends = np.sign(joint[np.abs(joint) > 0.5])
    return int(np.count_nonzero(np.diff(ends)))


def _explained(joint: NDArray[np.float64], pixels: NDArray[np.float64]) -> float:
    basis = np.polynomial.chebyshev.chebvander(joint, DEGREE)
    coefficients = np.linalg.lstsq(basis, pixels, rcond=None)[0]
    rest = np.sum((pixels - basis @ coefficients) ** 2)
    return float(1 - rest / np.sum((pixels - pixels.mean(axis=0)) ** 2))
