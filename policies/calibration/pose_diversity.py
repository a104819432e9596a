"""Whether a set of arm poses determines a hand-eye calibration, and what it still lacks.

The camera's rotation follows only from rotations of the hand about two axes that are not parallel, and its position
along an axis only from rotations about another: pure translations, or rotations about one axis, leave a family of
answers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

LEAST_POSES = 6
LEAST_SPREAD_DEG = 8.0
"""Standard deviation of the rotations about the second most used axis."""

WANTED_POSES = 40
"""What guided collection asks for by default; with fewer 2 mm are not certain (`docs/benchmarks/calibration.md`)."""
WANTED_RANGE_DEG = 30.0
"""What it asks for about each axis of the tool: largest less smallest rotation."""


def check_determined(base_from_tool: NDArray[np.float64]) -> None:
    """Refuse poses (n, 4, 4) from which the mount of a camera does not follow.

    Raises:
        ValueError: too few poses, no rotations, or rotations about one axis only.
    """
    if len(base_from_tool) < LEAST_POSES:
        raise ValueError(f"poses: expected at least {LEAST_POSES}, found {len(base_from_tool)}")
    turns = _turns(base_from_tool)
    _, spreads, axes = np.linalg.svd(turns - turns.mean(axis=0), full_matrices=False)
    spreads = spreads / np.sqrt(len(turns))
    if spreads[0] < LEAST_SPREAD_DEG:
        raise ValueError(
            f"poses: expected rotations of the tool, found translations only (rotations spread {spreads[0]:.1f} "
            f"degrees, {LEAST_SPREAD_DEG} needed about two axes)"
        )
    if spreads[1] < LEAST_SPREAD_DEG:
        axis = np.array2string(axes[0], precision=2, suppress_small=True)
        raise ValueError(
            f"poses: expected rotations about two axes, found one axis only, {axis} in the tool frame (the second "
            f"spreads {spreads[1]:.1f} degrees, {LEAST_SPREAD_DEG} needed)"
        )


def missing(base_from_tool: NDArray[np.float64], wanted: int = WANTED_POSES) -> list[str]:
    """What poses (n, 4, 4) still lack for a good calibration, in words for the person who moves the arm."""
    lacks = []
    if len(base_from_tool) < wanted:
        lacks.append(f"{wanted - len(base_from_tool)} more poses")
    ranges = np.ptp(_turns(base_from_tool), axis=0) if len(base_from_tool) else np.zeros(3)
    for axis, found in zip("xyz", ranges, strict=True):
        if found < WANTED_RANGE_DEG:
            lacks.append(f"turn the tool about its {axis} axis ({found:.0f} of {WANTED_RANGE_DEG:.0f} degrees so far)")
    return lacks


def distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, float]:
    """Metres and degrees between two poses (4, 4)."""
    turn = Rotation.from_matrix(first[:3, :3].T @ second[:3, :3]).magnitude()
    return float(np.linalg.norm(first[:3, 3] - second[:3, 3])), float(np.rad2deg(turn))


def _turns(base_from_tool: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 3) rotation vectors from the mean orientation, in its frame, degrees."""
    rotations = Rotation.from_matrix(base_from_tool[:, :3, :3])
    return np.rad2deg((rotations.mean().inv() * rotations).as_rotvec())
