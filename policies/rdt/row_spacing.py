"""`RowSpacing`: which times the rows of a network's chunk are for, where they lie closer than control steps.

The published ManiSkill fine-tune makes 64 rows of 16 commands, by linear interpolation from the first to the last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROUNDING = 1e-9


@dataclass(frozen=True)
class RowSpacing:
    """Rows of a chunk and the control steps that they are spread over; the first and the last of both coincide.

    Attributes:
        rows: T of the network's chunk.
        steps: S of commands, 2 to T, or as many as rows.

    Raises:
        ValueError: other numbers.
    """

    rows: int
    steps: int

    def __post_init__(self) -> None:
        if not (2 <= self.steps <= self.rows or self.steps == self.rows):
            raise ValueError(f"chunk_steps: expected 2 to the {self.rows} rows of a chunk, found {self.steps}")

    @property
    def rows_per_step(self) -> float:
        """Rows from one control step to the next."""
        return 1.0 if self.rows == self.steps else (self.rows - 1) / (self.steps - 1)

    def to_rows(self, commands: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rows (..., T, k) of commands (..., S, k)."""
        return commands if self.rows == self.steps else _at(commands, np.arange(self.rows) / self.rows_per_step)

    def to_steps(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Commands (..., S, k) of rows (..., T, k)."""
        return rows if self.rows == self.steps else _at(rows, np.arange(self.steps) * self.rows_per_step)

    def later(self, rows: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
        """Rows (T, k) as they are some control steps later; those beyond the end repeat the last."""
        return _at(rows, np.arange(self.rows) + steps * self.rows_per_step)

    def rows_within(self, steps: int) -> int:
        """Rows, from the first, that are due by so many control steps."""
        return math.floor((steps - 1) * self.rows_per_step + ROUNDING) + 1 if steps > 0 else 0

    def steps_within(self, rows: int) -> int:
        """Most control steps whose rows are all among the first so many."""
        return max((steps for steps in range(self.steps + 1) if self.rows_within(steps) <= rows), default=0)


def _at(rows: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows (..., M, k) at M places between the rows (..., T, k) 0 to T - 1, by linear interpolation."""
    places = places.clip(max=rows.shape[-2] - 1)
    before = np.floor(places + ROUNDING).astype(np.int64)
    after = np.minimum(before + 1, rows.shape[-2] - 1)
    share = (places - before).clip(min=0.0)[:, None]
    first = rows[..., before, :]
    return first + share * (rows[..., after, :] - first)
