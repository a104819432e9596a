"""`HammingIndex`: packed bits in the machine's memory, found again by how many bits differ."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)


class HammingIndex:
    """Packed bits by name; the first that is added says how many bytes each has."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._rows: list[NDArray[np.uint8]] = []
        self._together: NDArray[np.uint8] | None = None  # of the rows; made when it is asked for

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, id: str, packed: ArrayLike) -> None:
        """Keep bits under a name.

        Args:
            id: the name.
            packed: (bytes,) uint8.

        Raises:
            ValueError: the name is taken, or bits of another number.
        """
        row = self._checked(packed)
        if id in self._places:
            raise ValueError(f"id: expected a new one, found {id!r} again")
        self._places[id] = len(self._rows)
        self._rows.append(row)
        self._together = None

    def query(self, packed: ArrayLike, k: int) -> tuple[list[str], NDArray[np.int64]]:
        """Names of the k nearest, the nearest first and among equals the oldest, and how many bits differ.

        Raises:
            ValueError: bits of another number, nothing to be found, or k below 1.
        """
        if k < 1 or not self._rows:
            raise ValueError(f"k: expected at least 1 and rows to search, found {k} and {len(self)} rows")
        row = self._checked(packed)
        if self._together is None:
            self._together = np.stack(self._rows)
        distances = _ONES[self._together ^ row].sum(axis=1, dtype=np.int64)
        order = np.argsort(distances, kind="stable")[:k]
        ids = list(self._places)
        return [ids[place] for place in order], distances[order]

    def _checked(self, packed: ArrayLike) -> NDArray[np.uint8]:
        row = np.array(packed)
        if row.dtype != np.uint8 or row.ndim != 1:
            raise ValueError(f"packed: expected (bytes,) uint8, found {row.shape} {row.dtype}")
        if self._rows and len(row) != len(self._rows[0]):
            raise ValueError(f"packed: expected {len(self._rows[0])} bytes, found {len(row)}")
        return row
