"""`Table`: rows of inputs and targets, out of an npz file, a LeRobot dataset or frames, with an encoder's vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from representation.compatibility.stored_vectors import EPISODE, read_vectors
from representation.data.array_files import read_arrays
from representation.data.frames import FRAMES_FILE, open_frames
from representation.data.lerobot_dataset import LeRobotDataset
from representation.data.lerobot_format import INFO_PATH

SHARES = (0.6, 0.2)  # of the episodes: to train on, to choose by; the others are tested


@dataclass(frozen=True)
class Table:
    """n rows.

    Attributes:
        x: (n, d).
        y: (n, C) numbers, or (n,) classes.
        episode: (n,) what each row belongs to; held out as a whole.
    """

    x: NDArray[np.float64]
    y: NDArray
    episode: NDArray[np.int64]

    def __post_init__(self) -> None:
        count = len(self.x)
        if self.x.ndim != 2 or not self.x.size:
            raise ValueError(f"inputs: expected (n, d), found {self.x.shape}")
        for name, values in (("target", self.y), ("episode", self.episode)):
            if len(values) != count:
                raise ValueError(f"{name}: expected {count} rows, found {len(values)}")
        for name, values in (("inputs", self.x), ("target", self.y)):
            if not np.isfinite(values).all():
                raise ValueError(f"{name}: expected finite numbers, found {int((~np.isfinite(values)).sum())} others")

    def __len__(self) -> int:
        return len(self.x)

    @property
    def classes(self) -> int:
        """How many classes there are; 0 where targets are numbers."""
        return int(self.y.max()) + 1 if self.y.ndim == 1 else 0

    def rows(self, chosen: NDArray) -> Table:
        """Some of them."""
        return Table(self.x[chosen], self.y[chosen], self.episode[chosen])

    def split(self, rng: np.random.Generator, most: int) -> tuple[Table, Table, Table]:
        """Rows to train on, to choose by and to test, by whole episodes; of each at most so many, drawn.

        Raises:
            ValueError: fewer than five episodes, or a part has but one class.
        """
        numbers = rng.permutation(np.unique(self.episode))
        if len(numbers) < 5:
            raise ValueError(f"episode: expected at least 5, found {len(numbers)}")
        ends = np.round(np.cumsum(SHARES) * len(numbers)).astype(int)
        parts = []
        for part in np.split(numbers, ends):
            rows = np.flatnonzero(np.isin(self.episode, part))
            parts.append(self.rows(np.sort(rng.permutation(rows)[:most])))
        if self.classes and len(np.unique(parts[0].y)) < 2:
            raise ValueError(f"target: expected at least two classes to train on, found {np.unique(parts[0].y)}")
        return parts[0], parts[1], parts[2]


def read_table(
    data: Path,
    inputs: Sequence[str],
    target: str,
    vectors: Path | None = None,
    ahead: int = 0,
    classify: bool = False,
) -> Table:
    """Rows of what is kept.

    Args:
        data: an npz file of arrays (n, ...), with `episode` (n,) if rows belong together; a LeRobot dataset; or frames.
        inputs: names of arrays, features or columns; they are put side by side.
        target: likewise, one.
        vectors: file of `python -m representation.embed` for the same rows, which are further inputs.
        ahead: if not 0, the target is the change of its numbers over so many rows of an episode.
        classify: whether the target numbers classes.

    Raises:
        FileNotFoundError: there is no such data.
        ValueError: no such name, or rows that do not fit, or are not finite; names it.
    """
    if not inputs and vectors is None:
        raise ValueError("inputs: expected at least one name, or vectors, found none")
    columns, episode = _columns(data, [*inputs, target])
    parts = [_flat(columns[name], name) for name in inputs]
    if vectors is not None:
        file = read_vectors(vectors)
        if len(file.vectors) != len(episode) or not np.array_equal(file.episode, episode):
            raise ValueError(f"{vectors}: expected the {len(episode)} rows of {data}, found {len(file.vectors)} others")
        parts.append(file.vectors.astype(np.float64))
    x, y = np.concatenate(parts, axis=1), _flat(columns[target], target)
    if ahead < 0 or (ahead and classify):
        raise ValueError(f"ahead: expected at least 0, and 0 for classes, found {ahead}")
    if ahead:
        same = episode[ahead:] == episode[:-ahead]
        x, y, episode = x[:-ahead][same], (y[ahead:] - y[:-ahead])[same], episode[:-ahead][same]
    if not classify:
        return Table(x, y, episode)
    if y.shape[1] != 1 or not np.isfinite(y).all() or (y != y.round()).any():
        raise ValueError(f"{target}: expected whole numbers (n,) of classes, found {y.shape} {y.dtype}")
    values, numbers = np.unique(y[:, 0], return_inverse=True)
    if len(values) < 2:
        raise ValueError(f"{target}: expected at least two classes, found {values}")
    return Table(x, numbers.astype(np.int64), episode)


def _columns(data: Path, names: Sequence[str]) -> tuple[Mapping[str, NDArray], NDArray[np.int64]]:
    if data.suffix == ".npz":
        found = read_arrays(data)
        _known(names, found, data)
        return found, found.get(EPISODE, np.arange(len(found[names[0]]))).astype(np.int64)
    if (data / INFO_PATH).is_file() and not (data / FRAMES_FILE).is_file():
        dataset = LeRobotDataset(data)
        numeric = [key for key in dataset.keys if dataset.info.features[key].is_numeric]
        _known(names, numeric, data)
        found = dataset.load_episodes(list(dict.fromkeys(names)))
        return found, found["episode_index"].astype(np.int64)
    frames = open_frames(data)
    _known(names, frames.columns, data)
    return frames.columns, frames.episode


def _known(names: Sequence[str], found: Mapping[str, NDArray] | Sequence[str], data: Path) -> None:
    missing = sorted(set(names) - set(found))
    if missing:
        raise ValueError(f"{data}: expected {missing}, found {sorted(found)}")


def _flat(values: NDArray, name: str) -> NDArray[np.float64]:
    if not (np.issubdtype(values.dtype, np.number) or values.dtype == bool) or not values.ndim or not len(values):
        raise ValueError(f"{name}: expected numbers (n, ...), found {values.shape} {values.dtype}")
    return values.reshape(len(values), -1).astype(np.float64)
