"""Datasets into a memory: episode after episode, each frame and each episode as vectors of some encoders."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from representation.data.documents import documents
from representation.data.frames import TIME, Episodes, Frames, open_episodes
from representation.embedding import embed
from representation.interface import DocumentEncoder, Encoder
from representation.memory.episode_memory import EpisodeMemory
from representation.memory.filters import Filter
from representation.memory.schema import EPISODES, FRAMES, Row

COMMIT_ROWS = 512  # at least, unless the dataset ends before


@dataclass(frozen=True)
class SourceOptions:
    """Which dataset.

    Attributes:
        data: directory of frames, a LeRobot dataset or pictures in a folder per class.
        camera: of a LeRobot dataset; the first one if left out.
        image_size: side that pictures are brought to first, pixels; 0 keeps them.
        points: of the clouds that are made of the depth of a LeRobot dataset; 0 makes none.
    """

    data: Path
    camera: str = ""
    image_size: int = 0
    points: int = 0

    def episodes(self) -> Episodes:
        """Its episodes; errors as of `open_frames`."""
        return open_episodes(self.data, self.camera, self.image_size, self.points)


def remember(
    memory: EpisodeMemory,
    options: SourceOptions,
    encoders: Mapping[str, Encoder | DocumentEncoder],
    progress: bool = False,
) -> int:
    """Add the episodes of a dataset that are not there yet; one that was interrupted goes on where it was.

    Args:
        memory: where the encoders are registered.
        options: which dataset.
        encoders: by their keys.
        progress: show a progress bar.

    Returns:
        Number of frames that were added.
    """
    source, episodes = str(options.data.resolve()), options.episodes()
    where = Filter(source=source, camera=episodes.camera)
    known = [{row.episode for row in memory.rows(EPISODES, where, key)} for key in encoders]
    done = set.intersection(*known)
    count = 0
    for batch in _batches(tqdm(episodes.frames, "episodes", episodes.total, disable=not progress), done):
        rows = [row for frames in batch for row in frame_rows(source, episodes.camera, frames)]
        wholes = [episode_row(source, episodes.camera, frames) for frames in batch]
        vectors = {key: [embed(encoder, frames) for frames in batch] for key, encoder in encoders.items()}
        # Frames first: an episode whose row is there is there as a whole.
        memory.add(FRAMES, rows, {key: np.concatenate(parts) for key, parts in vectors.items()})
        means = {
            key: np.stack([episode_vector(part, encoders[key].modality) for part in parts])
            for key, parts in vectors.items()
        }
        memory.add(EPISODES, wholes, means)
        count += len(rows)
    return count


def frame_rows(source: str, camera: str, frames: Frames) -> list[Row]:
    """The rows of the frames of one episode."""
    states = documents(frames, np.arange(len(frames)))
    times = frames.columns.get(TIME, np.zeros(len(frames)))
    texts = frames.texts or [""] * len(frames)
    return [
        Row(source, camera, int(frames.episode[0]), number, float(time), 1, text, json.dumps(state))
        for number, (time, text, state) in enumerate(zip(times, texts, states, strict=True))
    ]


def episode_row(source: str, camera: str, frames: Frames) -> Row:
    """The row of an episode; its state is the last one."""
    last = frame_rows(source, camera, frames.subset(np.array([len(frames) - 1])))[0]
    return Row(source, camera, last.episode, 0, 0.0, len(frames), last.task, last.state)


def episode_vector(vectors: NDArray[np.float32], modality: str) -> NDArray[np.float32]:
    """The vector (D,) of an episode whose frames have vectors (N, D).

    That of a clip is the last one, which saw all; any other is the mean of their directions.
    """
    if modality == "clip":
        return vectors[-1]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).mean(axis=0)


def _batches(episodes: Iterator[Frames], done: set[int]) -> Iterator[list[Frames]]:
    batch: list[Frames] = []
    for frames in episodes:
        if int(frames.episode[0]) not in done:
            batch.append(frames)
        if sum(map(len, batch)) >= COMMIT_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch
