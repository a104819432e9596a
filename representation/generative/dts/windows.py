"""Windows of signals out of LeRobot datasets and npz files, with what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from representation.data.array_files import read_arrays
from representation.data.lerobot_dataset import LeRobotDataset

STATE_CHANNELS = ("observation.state", "observation.velocity")
WINDOWS = "windows"
MOST_VALUES = 32  # that a column may take to tell skills
UNLABELLED = ""


@dataclass(frozen=True)
class Recording:
    """Signals of one episode.

    Attributes:
        values: (n, C) float32.
        labels: (n,) strings, `UNLABELLED` where nothing is known.
        factors: (n, F) numbers that are known beside the signals.
    """

    values: NDArray[np.float32]
    labels: NDArray[np.str_]
    factors: NDArray[np.float32]


@dataclass(frozen=True)
class Windows:
    """Windows of recordings.

    Attributes:
        values: (N, T, C) float32.
        labels: (N,) those in the middle of each.
        factors: (N, F) their means over each.
        recording: (N,) number of each one's recording.
        first: (N,) steps before it there.
    """

    values: NDArray[np.float32]
    labels: NDArray[np.str_]
    factors: NDArray[np.float32]
    recording: NDArray[np.int64]
    first: NDArray[np.int64]


def read_recordings(
    path: Path,
    channels: Sequence[str] = STATE_CHANNELS,
    labels: Sequence[str] = (),
    rate: float = 10.0,
    factors: Sequence[str] = (),
) -> list[Recording]:
    """Read the episodes of a LeRobot dataset, or the series of an npz file.

    Args:
        path: directory of a dataset, or file with `windows` (N, T, C) and any further arrays (N, ...).
        channels: columns of a dataset; NAME:0,2-4 takes some entries of one. Files are read whole.
        labels: columns, or NAME:INDEX, that together tell what is being done: each combination of their values is a
            label. They take few values each.
        rate: that a dataset's signals are brought to by linear interpolation, Hz.
        factors: columns, or NAME:INDEX, of numbers that are known beside the signals.

    Raises:
        ValueError: no such columns, numbers that are not finite, or labels of too many values; names the file.
    """
    arrays = read_arrays(path) if path.suffix == ".npz" else None
    try:
        if arrays is not None:
            return _series(arrays, labels, factors)
        return _episodes(path, channels, labels, rate, factors)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _series(arrays: dict[str, NDArray], labels: Sequence[str], factors: Sequence[str]) -> list[Recording]:
    if WINDOWS not in arrays or arrays[WINDOWS].ndim != 3 or not len(arrays[WINDOWS]):
        raise ValueError(f"expected {WINDOWS} (N, T, C), found { {k: v.shape for k, v in arrays.items()} }")
    values = _finite(arrays[WINDOWS])
    told = _combined({name: _entry(arrays, name) for name in labels}, len(values))
    known = _known(arrays, factors, len(values))
    return [
        Recording(one, np.full(len(one), label, dtype=told.dtype), np.tile(numbers, (len(one), 1)))
        for one, label, numbers in zip(values, told, known, strict=True)
    ]


def _episodes(
    path: Path, channels: Sequence[str], labels: Sequence[str], rate: float, factors: Sequence[str]
) -> list[Recording]:
    if rate <= 0 or not channels:
        raise ValueError(f"rate, channels: expected above 0 and at least one, found {rate} and {list(channels)}")
    dataset = LeRobotDataset(path)
    names = [name.partition(":")[0] for name in (*channels, *labels, *factors)]
    columns = dataset.load_episodes(list(dict.fromkeys(names)))
    values = _finite(np.concatenate([_entries(columns, name) for name in channels], axis=1))
    told = _combined({name: _entry(columns, name) for name in labels}, len(values))
    known = _known(columns, factors, len(values))
    found = []
    for number in np.unique(columns["episode_index"]):
        rows = columns["episode_index"] == number
        found.append(_resampled(Recording(values[rows], told[rows], known[rows]), dataset.info.fps, rate))
    return found


def _entries(columns: dict[str, NDArray], name: str) -> NDArray:
    """(n, k) numbers of a column, or of some of its entries."""
    key, _, wanted = name.partition(":")
    values = columns[key].reshape(len(columns[key]), -1)
    if not wanted:
        return values
    places: list[int] = []
    for part in wanted.split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            raise ValueError(f"{name}: expected entries such as {key}:0,2-4")
        places += range(int(first), int(last or first) + 1)
    if max(places, default=values.shape[1]) >= values.shape[1]:
        raise ValueError(f"{name}: expected entries below {values.shape[1]}, found {places}")
    return values[:, places]


def _entry(columns: dict[str, NDArray], name: str) -> NDArray:
    """(n,) of a column of one number, or of one of its entries."""
    key = name.partition(":")[0]
    if key not in columns:
        raise ValueError(f"{key}: expected one of {list(columns)}")
    values = _entries(columns, name)
    if values.shape[1] != 1:
        raise ValueError(f"{name}: expected one number a row, found {values.shape[1]}: NAME:INDEX?")
    return values[:, 0]


def _combined(columns: dict[str, NDArray], count: int) -> NDArray[np.str_]:
    """Labels of rows, such as `task=2 gripper=1`."""
    found = np.full(count, UNLABELLED, dtype=object)
    for name, values in columns.items():
        unique, numbers = np.unique(values, return_inverse=True)
        if len(unique) > MOST_VALUES:
            raise ValueError(f"{name}: expected at most {MOST_VALUES} values of a label, found {len(unique)}")
        texts = np.array([f"{name}={value:g}" for value in unique.astype(np.float64)], dtype=object)[numbers]
        found = texts if (found == UNLABELLED).all() else found + " " + texts
    return found.astype(str)


def _known(columns: dict[str, NDArray], names: Sequence[str], count: int) -> NDArray[np.float32]:
    """(n, F) numbers of columns."""
    return _finite(np.stack([np.zeros(count), *(_entry(columns, name) for name in names)], axis=1)[:, 1:])


def _finite(values: NDArray) -> NDArray[np.float32]:
    numbers = values.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise ValueError("channels: expected finite numbers, found others")
    return numbers


def _resampled(recording: Recording, fps: float, rate: float) -> Recording:
    if fps == rate:
        return recording
    before = np.arange(len(recording.values)) / fps
    after = np.arange(int(before[-1] * rate + 1e-6) + 1) / rate
    values = np.stack([np.interp(after, before, column) for column in recording.values.T], axis=1)
    nearest = np.clip(np.round(after * fps).astype(int), 0, len(before) - 1)
    return Recording(values.astype(np.float32), recording.labels[nearest], recording.factors[nearest])


def cut(recordings: Sequence[Recording], length: int, stride: int) -> Windows:
    """Windows of T steps, every `stride` steps and at the end of each recording; shorter recordings give none.

    Raises:
        ValueError: no recording is long enough, or length or stride below 1.
    """
    if length < 1 or stride < 1:
        raise ValueError(f"length, stride: expected from 1, found {length} and {stride}")
    values, labels, factors, numbers, firsts = [], [], [], [], []
    for number, recording in enumerate(recordings):
        last = len(recording.values) - length
        for first in sorted({*range(0, last + 1, stride), last} if last >= 0 else ()):
            values.append(recording.values[first : first + length])
            labels.append(recording.labels[first + length // 2])
            factors.append(recording.factors[first : first + length].mean(axis=0))
            numbers.append(number)
            firsts.append(first)
    if not values:
        longest = max((len(recording.values) for recording in recordings), default=0)
        raise ValueError(f"length: expected at most the {longest} steps of the longest recording, found {length}")
    return Windows(np.stack(values), np.array(labels), np.stack(factors), np.array(numbers), np.array(firsts))


def hold_out(recordings: Sequence[Recording], seed: int) -> tuple[list[Recording], list[Recording]]:
    """Four fifths to learn from, and the others, drawn at random.

    Raises:
        ValueError: fewer than two recordings.
    """
    if len(recordings) < 2:
        raise ValueError(f"recordings: expected at least 2, found {len(recordings)}")
    order: list[Any] = np.random.default_rng(seed).permutation(len(recordings)).tolist()
    held = max(1, len(order) // 5)
    return [recordings[place] for place in sorted(order[held:])], [recordings[place] for place in sorted(order[:held])]
