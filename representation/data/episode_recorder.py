"""`EpisodeRecorder`: one episode, frame by frame, into a folder of its own.

The folder holds `rows.parquet` (numbers), `episode.json` (tasks and statistics) and one video per image feature. Images
are encoded as they come, so that a long episode needs little memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from representation.data.atomic_files import write_json, write_table
from representation.data.image_encoder import ImageEncoder
from representation.data.lerobot_format import INDEX_FEATURES, DatasetInfo, Feature
from representation.data.parquet_columns import column_from_values
from representation.data.statistics import Statistics, array_statistics
from representation.data.video import VideoCodec

ROWS_FILE = "rows.parquet"
EPISODE_FILE = "episode.json"


def video_file(feature: Feature, codec: VideoCodec) -> str:
    """Name of a feature's video in the folder of an episode."""
    return f"{feature.key}{codec.suffix}"


class EpisodeRecorder:
    """Record one episode.

    Args:
        folder: what to record into; removed first if it exists.
        info: rate and features of the dataset.
        codec_of: how the frames of a feature are stored.
    """

    def __init__(self, folder: Path, info: DatasetInfo, codec_of: Callable[[Feature], VideoCodec]) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._folder, self._info, self._codec_of = folder, info, codec_of
        self._features = {key: feature for key, feature in info.features.items() if key not in INDEX_FEATURES}
        self._rows: dict[str, list[NDArray]] = {key: [] for key, f in self._features.items() if f.is_numeric}
        self._tasks: list[str] = []
        self._encoders: dict[str, ImageEncoder] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def add_frame(self, frame: Mapping[str, Any], task: str) -> None:
        """Append one frame; see `LeRobotWriter.add_frame`."""
        if not isinstance(task, str) or not task:
            raise ValueError(f"task: expected a sentence, found {task!r}")
        if set(frame) != set(self._features):
            raise ValueError(f"frame: expected keys {sorted(self._features)}, found {sorted(frame)}")
        values = {key: _checked_value(feature, frame[key]) for key, feature in self._features.items()}
        for key, value in values.items():
            if self._features[key].is_numeric:
                self._rows[key].append(value)
            else:
                self._write_image(self._features[key], value)
        self._tasks.append(task)

    def save(self, target: Path) -> None:
        """Write what is missing and rename the folder to `target`.

        Raises:
            ValueError: there are no frames.
        """
        if not self._tasks:
            raise ValueError("save_episode: expected at least one frame, found none")
        for encoder in self._encoders.values():
            encoder.close()
        length = len(self._tasks)
        columns = {key: np.stack(rows) for key, rows in self._rows.items()}
        columns["timestamp"] = (np.arange(length) / self._info.fps).astype(np.float32)[:, None]
        columns["frame_index"] = np.arange(length)[:, None]
        stats = {key: array_statistics(values) for key, values in columns.items()}
        stats |= {key: encoder.statistics() for key, encoder in self._encoders.items()}
        features = self._info.features
        table = pa.table({key: column_from_values(features[key], values) for key, values in columns.items()})
        write_table(self._folder / ROWS_FILE, table)
        write_json(self._folder / EPISODE_FILE, {"tasks": self._tasks, "stats": statistics_to_lists(stats)})
        self._folder.rename(target)

    def discard(self) -> None:
        """Forget the frames and remove the folder."""
        for encoder in self._encoders.values():
            encoder.abandon()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write_image(self, feature: Feature, image: NDArray) -> None:
        if feature.key not in self._encoders:
            self._folder.mkdir(parents=True, exist_ok=True)
            codec = self._codec_of(feature)
            path = self._folder / video_file(feature, codec)
            self._encoders[feature.key] = ImageEncoder(path, feature, codec, self._info.fps)
        self._encoders[feature.key].write(image)


def statistics_to_lists(stats: Mapping[str, Statistics]) -> dict[str, dict[str, list]]:
    """Statistics by feature as JSON holds them."""
    return {key: {name: np.asarray(value).tolist() for name, value in part.items()} for key, part in stats.items()}


def _checked_value(feature: Feature, value: Any) -> NDArray:
    array = np.asarray(value)
    if array.shape != feature.shape:
        raise ValueError(f"{feature.key}: expected shape {feature.shape}, found {array.shape}")
    if feature.dtype == "video":
        if array.dtype != np.uint8:
            raise ValueError(f"{feature.key}: expected uint8, found {array.dtype}")
        return np.array(array, order="C")  # a copy: it is encoded later
    if feature.dtype == "depth":
        if array.dtype != np.float32:
            raise ValueError(f"{feature.key}: expected float32 metres, found {array.dtype}")
        return np.array(array, order="C")
    if not np.can_cast(array.dtype, feature.dtype, casting="same_kind"):
        raise ValueError(f"{feature.key}: expected {feature.dtype}, found {array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError(f"{feature.key}: expected finite numbers, found {array}")
    return array.astype(feature.dtype)
