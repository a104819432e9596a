"""`ActionNormalizer`: physical actions <-> [-1, 1] by the 1st and 99th percentile of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

ACTION_MASK = (True, True, True, True, True, True, False)
_EPSILON = 1e-8
_SMALLEST_SPREAD = 1e-6


@dataclass(frozen=True)
class ActionNormalizer:
    """Affine map of the masked dimensions, [q01, q99] to [-1, 1]; the others pass unchanged.

    Attributes:
        q01: (7,) lower percentile, physical units (m, rad; the gripper is 0 to 1).
        q99: (7,) upper percentile.
        mask: (7,) True where the map applies.
        constant: (7,) True where the data never varied; such a dimension normalises to 0.
    """

    q01: NDArray[np.float64]
    q99: NDArray[np.float64]
    mask: NDArray[np.bool_]
    constant: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        constant = np.zeros(7, bool) if self.constant is None else self.constant
        for name, value, dtype in (
            ("q01", self.q01, np.float64),
            ("q99", self.q99, np.float64),
            ("mask", self.mask, np.bool_),
            ("constant", constant, np.bool_),
        ):
            array = np.asarray(value, dtype=dtype)
            if array.shape != (7,) or not np.isfinite(array).all():
                raise ValueError(f"{name}: expected 7 finite values, found {array}")
            object.__setattr__(self, name, array)
        if (self.q99 < self.q01).any():
            raise ValueError(f"q99: expected at least q01 {self.q01}, found {self.q99}")

    @classmethod
    def from_statistics(cls, statistics: Mapping[str, Any]) -> ActionNormalizer:
        """Build from one dataset's entry of `processor_config.json` (q01, q99, mask, min, max)."""
        missing = [name for name in ("q01", "q99", "mask") if name not in statistics]
        if missing:
            raise ValueError(f"action statistics: expected q01, q99 and mask, {missing} missing")
        low, high = statistics.get("min"), statistics.get("max")
        constant = None if low is None or high is None else np.asarray(low) == np.asarray(high)
        return cls(statistics["q01"], statistics["q99"], statistics["mask"], constant)

    def normalize(self, actions: ArrayLike) -> NDArray[np.float64]:
        """Map physical actions (..., 7) to [-1, 1], clipping what lies outside the percentiles."""
        actions = np.asarray(actions, dtype=np.float64)
        scaled = np.clip(2.0 * (actions - self.q01) / (self.q99 - self.q01 + _EPSILON) - 1.0, -1.0, 1.0)
        scaled = np.where(self.constant, 0.0, scaled)
        return np.where(self.mask, scaled, actions)

    def unnormalize(self, actions: ArrayLike) -> NDArray[np.float64]:
        """Map normalised actions (..., 7) back to physical units."""
        actions = np.asarray(actions, dtype=np.float64)
        return np.where(self.mask, 0.5 * (actions + 1.0) * (self.q99 - self.q01) + self.q01, actions)


def action_statistics(actions: ArrayLike) -> dict[str, list]:
    """Statistics (mean, std, max, min, q01, q99, mask) of physical actions (N, 7), as stored in a checkpoint.

    A dimension that moves in fewer than one frame in a hundred has equal percentiles; its range takes their place, so
    that its rare motion is not lost.
    """
    actions = np.asarray(actions, dtype=np.float64)
    if actions.ndim != 2 or actions.shape[1] != 7 or len(actions) == 0 or not np.isfinite(actions).all():
        raise ValueError(f"actions: expected finite values of shape (N, 7) with N > 0, found shape {actions.shape}")
    q01, q99 = np.quantile(actions, [0.01, 0.99], axis=0)
    low, high = actions.min(axis=0), actions.max(axis=0)
    narrow = q99 - q01 < _SMALLEST_SPREAD
    return {
        "mean": actions.mean(axis=0).tolist(),
        "std": actions.std(axis=0).tolist(),
        "max": high.tolist(),
        "min": low.tolist(),
        "q01": np.where(narrow, low, q01).tolist(),
        "q99": np.where(narrow, high, q99).tolist(),
        "mask": list(ACTION_MASK),
    }
