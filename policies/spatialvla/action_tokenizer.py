"""`SpatialActionTokenizer`: normalised actions <-> the three token ids of each action."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policies.spatialvla.action_grid import ActionGrid, DecodeMode

TOKENS_PER_ACTION = 3


class SpatialActionTokenizer:
    """Places the slots of an `ActionGrid` one after another in the vocabulary, from `begin_id` on.

    Args:
        grid: the bins.
        begin_id: id of the first translation token; rotation and gripper tokens follow.
    """

    def __init__(self, grid: ActionGrid, begin_id: int) -> None:
        self.grid = grid
        self.begin_id = begin_id
        self._offsets = begin_id + np.concatenate([[0], np.cumsum(grid.slot_sizes)[:-1]])

    @property
    def vocabulary_size(self) -> int:
        """Number of action tokens."""
        return sum(self.grid.slot_sizes)

    def slot_ranges(self) -> tuple[tuple[int, int], ...]:
        """Half-open id ranges of the translation, rotation and gripper slots."""
        return tuple(
            (int(start), int(start + size)) for start, size in zip(self._offsets, self.grid.slot_sizes, strict=True)
        )

    def token_names(self) -> list[str]:
        """Names of the action tokens in id order, as the released tokenizer spells them."""
        return [f"<ACTION{i:05d}>" for i in range(self.vocabulary_size)]

    def encode(self, actions: ArrayLike) -> NDArray[np.int64]:
        """Ids (..., 3) of normalised actions (..., 7)."""
        return self.grid.encode(actions) + self._offsets

    def decode(self, ids: ArrayLike, mode: DecodeMode = "midpoint") -> NDArray[np.float64]:
        """Normalised actions (..., 7) of ids (..., 3); an id outside its slot is clipped into it."""
        return self.grid.decode(np.asarray(ids, dtype=np.int64) - self._offsets, mode)
