"""Initial values of the three learned position tables, from sines and cosines of the place in each modality.

Source: the RDT-1B implementation's initialisation (arXiv 2410.07864 does not give it).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def sinusoid(size: int, positions: ArrayLike) -> NDArray[np.float64]:
    """Sines, then cosines, (n, size) of n positions; wave lengths grow geometrically to 2 pi 10000."""
    frequencies = 10000.0 ** (-np.arange(size // 2) / (size / 2))
    angles = np.asarray(positions, dtype=np.float64)[:, None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def token_table(size: int, horizon: int) -> NDArray[np.float64]:
    """Table (horizon + 3, size) of diffusion step, frequency, state, and action rows.

    The first half tells the modality (0 to 3), the second the row within it.
    """
    modality = sinusoid(size // 2, np.array([0, 1, 2] + [3] * horizon))
    row = sinusoid(size // 2, np.array([0, 0, 0, *range(horizon)]))
    return np.concatenate([modality, row], axis=1)


def grid_table(size: int, grid: tuple[int, ...]) -> NDArray[np.float64]:
    """Table (product of |grid|, size) of tokens on a grid, the last axis fastest.

    Args:
        size: width; it is shared evenly, in even parts, among the axes with more than one place, and what is left
            over stays zero.
        grid: places along each axis. A negative number is an axis whose places get one code, because the tokens
            themselves tell theirs; it takes no width from the others.
    """
    table = np.zeros((*(abs(count) for count in grid), size))
    coded = [axis for axis, count in enumerate(grid) if count > 1]
    part = size // max(1, len(coded)) // 2 * 2
    for index, axis in enumerate(coded):
        shape = [1] * len(grid) + [part]
        shape[axis] = grid[axis]
        table[..., index * part : (index + 1) * part] = sinusoid(part, np.arange(grid[axis])).reshape(shape)
    return table.reshape(-1, size)


def language_table(size: int, length: int) -> NDArray[np.float64]:
    """Table (length, size) with the code of place 0 in every row: language tokens bring their own positions."""
    return np.repeat(sinusoid(size, np.zeros(1)), length, axis=0)
