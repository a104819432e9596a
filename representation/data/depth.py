"""Depth in metres to and from the 16-bit codes that a dataset stores.

A code is the z-depth in units of 0.1 mm, from 1 to 65535 (6.5535 m); 0 means that the depth is unknown. Stored codes
come back exactly (they are stored without loss), and so do depths that lie on that grid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CODES_PER_METRE = 10_000
MAX_DEPTH_M = 65535 / CODES_PER_METRE

DEPTH_ENCODING = {"pix_fmt": "gray16le", "unit_m": 1 / CODES_PER_METRE, "unknown": 0}
"""How `info.json` describes a depth feature, beside its codec."""

_METRES = (np.arange(65536) / CODES_PER_METRE).astype(np.float32)
_METRES[0] = np.nan


def encode_depth(depth: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Codes of depths.

    Args:
        depth: metres; NaN where unknown.

    Returns:
        Codes of the same shape, rounded to the nearest 0.1 mm. Not finite, not positive and beyond 6.5535 m become 0.
    """
    # Single precision is enough: at the largest code the product errs by less than 0.01.
    codes = np.rint(np.asarray(depth, dtype=np.float32) * np.float32(CODES_PER_METRE))
    # A comparison with NaN is False, so that unknown depths take the second branch.
    return np.where((codes >= 1) & (codes <= 65535), codes, 0).astype(np.uint16)


def decode_depth(codes: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Depths of codes: metres, NaN where the code is 0."""
    return _METRES[codes]
