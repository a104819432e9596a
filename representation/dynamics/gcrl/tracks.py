"""Tracks in files: what `python -m sim.workspace_tracks` writes, and the text files of the ETH and UCY data sets."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from representation.data.array_files import read_arrays

MAX_BYTES = 256 * 2**20
MAX_AGENTS = 200
ETH_UCY_PERIOD_S = 0.4
_ARRAYS = ("tracks", "agents", "environment", "period_s")


@dataclass(frozen=True)
class Tracks:
    """Scenes of one environment.

    Attributes:
        scenes: (scenes, steps, agents, 2) float32, metres, in the order in which they were seen; an agent that is not
            in a scene is NaN throughout.
        agents: what each is, such as arm or person.
        environment: name of the environment.
        period_s: time between two steps.
    """

    scenes: Tensor
    agents: tuple[str, ...]
    environment: str
    period_s: float

    def __post_init__(self) -> None:
        found = tuple(self.scenes.shape)
        if len(found) != 4 or found[2:] != (len(self.agents), 2) or not 0 < found[2] <= MAX_AGENTS or 0 in found:
            expected = f"(scenes, steps, {len(self.agents)}, 2) with at most {MAX_AGENTS} agents"
            raise ValueError(f"tracks: expected {expected}, found {found}")
        if not (np.isfinite(self.period_s) and self.period_s > 0):
            raise ValueError(f"period_s: expected a positive number, found {self.period_s!r}")
        there = self.scenes.isfinite().all(dim=(1, 3))
        away = self.scenes.isnan().all(dim=(1, 3))
        wrong = (~(there | away)).any(dim=1) | away.all(dim=1)
        if wrong.any():
            expected = "each agent finite throughout, or NaN throughout, and one of them there"
            raise ValueError(f"tracks: expected {expected}, found otherwise in scene {int(wrong.nonzero()[0])}")

    def save(self, path: Path) -> None:
        """Write them as .npz."""
        np.savez_compressed(
            path,
            tracks=self.scenes.numpy(),
            agents=np.array(self.agents),
            environment=np.array(self.environment),
            period_s=np.array(self.period_s),
        )


def read_tracks(path: Path, steps: int = 20) -> Tracks:
    """Scenes of a file: .npz of `Tracks.save`, .npy of (scenes, steps, agents, 2), or .txt of ETH and UCY.

    What .npy and .txt files do not tell is 0.4 s between steps and the file's name as that of the environment.

    Args:
        path: of the file.
        steps: that scenes of a .txt file get.

    Raises:
        OSError: it cannot be read.
        ValueError: larger than 256 MiB, damaged, or no such tracks; names the file.
    """
    try:
        if path.suffix == ".txt":
            return read_eth_ucy(path, steps)
        return _read_npz(path) if path.suffix == ".npz" else _read_npy(path)
    except (EOFError, TypeError) as error:
        raise ValueError(f"{path}: expected tracks, found: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}".replace(f"{path}: {path}: ", f"{path}: ")) from error


def read_eth_ucy(path: Path, steps: int = 20, stride: int = 1) -> Tracks:
    """Scenes of a text file of ETH or UCY: a line `frame id x y` for each person and frame, metres.

    A scene is `steps` frames that follow each other, and all people who are seen in every one of them. Frames follow
    each other at the smallest distance of any two in the file, 0.4 s in these data sets.

    Args:
        path: of the file; columns are separated by tabs or spaces.
        steps: of a scene.
        stride: frames between the beginnings of two scenes.

    Raises:
        OSError: it cannot be read.
        ValueError: larger than 256 MiB, a line that is none (named by its number), a person twice in a frame, or no
            scene of so many steps.
    """
    _check_size(path.stat().st_size, path)
    frames: dict[float, dict[float, tuple[float, float]]] = {}
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                frame, person, x, y = (float(word) for word in line.split())
            except ValueError as error:
                raise ValueError(f"{path}: line {number}: expected frame, id, x and y, found {line!r:.80}") from error
            if not np.isfinite((frame, person, x, y)).all():
                raise ValueError(f"{path}: line {number}: expected finite numbers, found {line!r:.80}")
            people = frames.setdefault(frame, {})
            if person in people:
                raise ValueError(f"{path}: line {number}: expected a person once in a frame, found {person:g} again")
            people[person] = (x, y)
    times = sorted(frames)
    step = min((later - earlier for earlier, later in itertools.pairwise(times)), default=1.0)
    scenes = []
    for start in range(0, len(times) - steps + 1, stride):
        window = times[start : start + steps]
        if not np.allclose(np.diff(window), step):
            continue
        seen = sorted(set.intersection(*(set(frames[time]) for time in window)))
        if seen:
            scenes.append(np.array([[frames[time][person] for person in seen] for time in window]))
    if not scenes:
        raise ValueError(f"{path}: expected somebody who is seen for {steps} steps, found nobody")
    most = max(scene.shape[1] for scene in scenes)
    if most > MAX_AGENTS:
        raise ValueError(f"{path}: expected at most {MAX_AGENTS} people in a scene, found {most}")
    padded = np.full((len(scenes), steps, most, 2), np.nan, np.float32)
    for row, scene in zip(padded, scenes, strict=True):
        row[:, : scene.shape[1]] = scene
    return Tracks(torch.from_numpy(padded), ("person",) * most, path.stem, ETH_UCY_PERIOD_S)


def _read_npz(path: Path) -> Tracks:
    found = read_arrays(path, MAX_BYTES, _ARRAYS)
    missing = sorted(set(_ARRAYS) - set(found))
    if missing:
        raise ValueError(f"expected the arrays {', '.join(_ARRAYS)}, found no {', '.join(missing)}")
    agents = tuple(str(name) for name in found["agents"].ravel())
    return Tracks(_tensor(found["tracks"]), agents, str(found["environment"]), float(found["period_s"]))


def _read_npy(path: Path) -> Tracks:
    _check_size(path.stat().st_size, path)
    found = np.load(path, mmap_mode="r", allow_pickle=False)  # a header that lies finds no memory to take
    agents = found.shape[2] if found.ndim == 4 else 0
    return Tracks(_tensor(found), ("agent",) * agents, path.stem, ETH_UCY_PERIOD_S)


def _tensor(found: NDArray) -> Tensor:
    if found.dtype.kind not in "fiu":
        raise ValueError(f"tracks: expected numbers, found {found.dtype}")
    return torch.from_numpy(found.astype(np.float32))


def _check_size(size: int, path: Path) -> None:
    if size > MAX_BYTES:
        raise ValueError(f"{path}: expected at most {MAX_BYTES} bytes, found {size}")
