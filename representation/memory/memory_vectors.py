"""`MemoryVectors`: what `representation.upgrade` needs of an episode memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from representation.interface import Encoder
from representation.memory.episode_memory import EpisodeMemory
from representation.memory.schema import EPISODES, FRAMES, EncoderColumns, Row
from representation.memory.sources import episode_vector

COMMIT_ROWS = 10_000


@dataclass(frozen=True)
class MemoryVectors:
    """A `StoredVectors`. What the memory holds is not changed: another encoder's vectors come beside the old ones.

    Attributes:
        memory: where they are.
        rows: N frames, ordered by source, camera, episode and frame.
        vectors: (N, D) float32, of the frames.
        labels: not known to a memory.
        names: none.
    """

    memory: EpisodeMemory
    rows: list[Row]
    vectors: NDArray[np.float32]
    labels: NDArray[np.int64] | None = None
    names: tuple[str, ...] = ()

    @classmethod
    def read(cls, address: str, key: str) -> MemoryVectors:
        """The vectors of frames by an encoder.

        Raises:
            FileNotFoundError: there is no memory.
            ValueError: it is damaged, or holds none of that encoder.
            ConnectionError: it cannot be reached.
        """
        memory = EpisodeMemory(address)
        rows, vectors = memory.vectors(FRAMES, key)
        if not rows:
            raise ValueError(f"{address}: expected vectors of {key}, found none")
        order = sorted(range(len(rows)), key=lambda number: (*_episode(rows[number]), rows[number].frame))
        return cls(memory, [rows[number] for number in order], vectors[order])

    def rewritten(self, vectors: NDArray[np.float32]) -> MemoryVectors:
        """The same frames with other vectors (N, D')."""
        return replace(self, vectors=vectors)

    def keep(self, output: Path, key: str, encoder: Encoder, changed: bool) -> None:
        """Write the vectors under the key of the encoder that searches them from now on.

        Where these are shorter than the encoder's, zeros follow: cosines are then those of
        `compatibility.retrieval.prefix_similarity`. One that was interrupted may be repeated.
        """
        self.memory.register(EncoderColumns(key, encoder.modality, encoder.width))
        vectors = np.pad(self.vectors, ((0, 0), (0, encoder.width - self.vectors.shape[1])))
        for start in range(0, len(self.rows), COMMIT_ROWS):
            part = slice(start, start + COMMIT_ROWS)
            self.memory.add(FRAMES, self.rows[part], {key: vectors[part]})
        known = {_episode(row): row for row in self.memory.rows(EPISODES)}
        wholes, means = [], []
        for episode, numbers in groupby(range(len(self.rows)), key=lambda number: _episode(self.rows[number])):
            if episode in known:
                wholes.append(known[episode])
                means.append(episode_vector(vectors[list(numbers)], encoder.modality))
        if wholes:
            self.memory.add(EPISODES, wholes, {key: np.stack(means)})


def _episode(row: Row) -> tuple[str, str, int]:
    return row.source, row.camera, row.episode
