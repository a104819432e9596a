"""Points of depth pictures with intrinsics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FEWEST_POINTS = 16


def depth_to_points(
    depth: NDArray[np.float32], intrinsics: NDArray[np.float64], mask: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Points of a depth picture, row by row.

    Args:
        depth: (H, W) metres along the optical axis; NaN where unknown.
        intrinsics: (3, 3) pinhole matrix in pixels, the centre of the first pixel at (0.5, 0.5).
        mask: (H, W), which pixels to take; None takes all.

    Returns:
        (M, 3) metres, of the pixels whose depth is known.
    """
    if depth.ndim != 2 or intrinsics.shape != (3, 3) or (mask is not None and mask.shape != depth.shape):
        shapes = depth.shape, intrinsics.shape, None if mask is None else mask.shape
        raise ValueError(f"depth, intrinsics, mask: expected (H, W), (3, 3), (H, W), found {shapes}")
    known = np.isfinite(depth) & (depth > 0)
    row, column = np.nonzero(known if mask is None else known & mask)
    z = depth[row, column].astype(np.float64)
    x = (column + 0.5 - intrinsics[0, 2]) / intrinsics[0, 0] * z
    y = (row + 0.5 - intrinsics[1, 2]) / intrinsics[1, 1] * z
    return np.stack([x, y, z], axis=1).astype(np.float32)


def random_points(points: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Random `count` points (count, 3) of (M, 3); where there are fewer, all of them and some twice.

    Raises:
        ValueError: so few that nothing can be told from them.
    """
    if len(points) < FEWEST_POINTS:
        raise ValueError(f"points: expected at least {FEWEST_POINTS} of known depth, found {len(points)}")
    more = rng.choice(len(points), max(0, count - len(points)))
    return points[np.concatenate([rng.permutation(len(points))[:count], more])]
