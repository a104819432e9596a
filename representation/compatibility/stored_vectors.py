"""What an upgrade needs of a memory: its vectors, and their classes if they are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from representation.data.array_files import read_arrays
from representation.data.frames import LABEL
from representation.interface import Encoder

MEMORY_FILE = "memory.npz"
VECTORS, EPISODE, NAMES = "vectors", "episode", "label_names"
MAX_BYTES = 16 * 2**30


class StoredVectors(Protocol):
    """Vectors of one encoder, whatever keeps them."""

    @property
    def vectors(self) -> NDArray[np.float32]:
        """(N, D)."""
        ...

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """Classes (N,); None if they are not known."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes; empty if they have none."""
        ...

    def rewritten(self, vectors: NDArray[np.float32]) -> StoredVectors:
        """The same entries with other vectors (N, D')."""
        ...

    def keep(self, output: Path, key: str, encoder: Encoder, changed: bool) -> None:
        """Let the upgraded encoder search it.

        Args:
            output: directory of the upgrade.
            key: of the upgraded encoder.
            encoder: it.
            changed: whether these are other vectors than before the upgrade.
        """
        ...


@dataclass(frozen=True)
class VectorFile:
    """What `python -m representation.embed` writes.

    Attributes:
        vectors: (N, D) float32.
        episode: (N,) number of what each belongs to.
        labels: (N,) classes; None if they are not known.
        names: of the classes; empty if they have none.
    """

    vectors: NDArray[np.float32]
    episode: NDArray[np.int64]
    labels: NDArray[np.int64] | None = None
    names: tuple[str, ...] = ()

    def rewritten(self, vectors: NDArray[np.float32]) -> VectorFile:
        """The same entries with other vectors (N, D')."""
        return VectorFile(vectors, self.episode, self.labels, self.names)

    def keep(self, output: Path, key: str, encoder: Encoder, changed: bool) -> None:
        """Write a new file, if there is anything new; the encoder finds its way by what is stored."""
        if changed:
            self.write(output / MEMORY_FILE)

    def write(self, path: Path) -> None:
        """Write an npz file that is not pickled."""
        known = {} if self.labels is None else {LABEL: self.labels, NAMES: np.array(self.names, np.str_)}
        np.savez(path, **{VECTORS: self.vectors, EPISODE: self.episode}, **known)


def read_vectors(path: Path) -> VectorFile:
    """Read an npz file of vectors.

    Raises:
        ValueError: something else, too large, or numbers that are not finite; names the file.
    """
    try:
        found = read_arrays(path, MAX_BYTES)
        vectors, episode = found[VECTORS].astype(np.float32), found[EPISODE].astype(np.int64)
        labels = found[LABEL].astype(np.int64) if LABEL in found else None
        names = tuple(map(str, found[NAMES])) if NAMES in found else ()
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected vectors as representation.embed writes them: {error}") from error
    if vectors.ndim != 2 or not len(vectors) or not np.isfinite(vectors).all():
        raise ValueError(f"{path}: vectors: expected finite numbers (N, D), found {vectors.shape}")
    for name, column in ((EPISODE, episode), (LABEL, labels)):
        if column is not None and column.shape != (len(vectors),):
            raise ValueError(f"{path}: {name}: expected ({len(vectors)},), found {column.shape}")
    if labels is not None and labels.min() < 0:
        raise ValueError(f"{path}: {LABEL}: expected numbers of classes, found {labels.min()}")
    return VectorFile(vectors, episode, labels, names)
