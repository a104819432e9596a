"""`LeRobotDataset`: read the episodes of a LeRobot dataset, format v3.0 or v2.1.

The files may come from a stranger: every number and path in them is checked before it is used (see
`untrusted_files.py`), and whatever does not fit is a `ValueError` that names the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tqdm import tqdm

from representation.data import video
from representation.data.depth import decode_depth
from representation.data.episode_index import HOW_TO_COMPLETE, EpisodeEntry, read_entries, read_tasks
from representation.data.lerobot_format import INFO_PATH, STATS_PATH, DatasetInfo, Feature, parse_info
from representation.data.parquet_columns import column_values
from representation.data.untrusted_files import read_json, read_parquet, resolve_inside


class LeRobotDataset:
    """The episodes of a dataset directory.

    Reading episodes in order is fast: the last table and the last video of each key stay open. For the same reason an
    instance belongs to one thread.

    Args:
        root: directory with `meta/info.json`.

    Raises:
        ValueError: it is no such dataset, or its index is damaged.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.info: DatasetInfo = parse_info(read_json(self.root, INFO_PATH))
        if self.info.total_episodes == 0:
            raise ValueError(f"{self.root}: expected at least one episode, found none; {HOW_TO_COMPLETE}")
        self.tasks: list[str] = read_tasks(self.root, self.info)
        self.entries: list[EpisodeEntry] = read_entries(self.root, self.info)
        self._table: tuple[str, pa.Table] | None = None
        self._videos: dict[str, tuple[str, video.VideoReader]] = {}

    @property
    def num_episodes(self) -> int:
        """Number of episodes."""
        return len(self.entries)

    @property
    def num_frames(self) -> int:
        """Number of frames of all episodes."""
        return self.info.total_frames

    @property
    def keys(self) -> list[str]:
        """Keys of all features that can be read."""
        return [key for key, f in self.info.features.items() if f.is_numeric or f.dtype in ("video", "depth")]

    @cached_property
    def stats(self) -> dict[str, Any]:
        """Statistics by feature and name as stored; empty without `meta/stats.json` (v2.1 keeps them per episode)."""
        return read_json(self.root, STATS_PATH) if (self.root / STATS_PATH).exists() else {}

    def __len__(self) -> int:
        return self.num_episodes

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self.episode(index) for index in range(self.num_episodes))

    def episode(self, index: int, keys: Sequence[str] | None = None) -> dict[str, Any]:
        """Read one episode.

        Args:
            index: number of the episode, from 0.
            keys: features to read; None reads all of `keys`.

        Returns:
            By key: numbers (N, *shape), or (N,) where the shape is (1,); colour (N, H, W, 3) uint8; depth (N, H, W)
            float32 metres with NaN where unknown. Beside them `task`: a list of N sentences.

        Raises:
            ValueError: a file is missing or damaged, or its content differs from what `meta/` says.
        """
        if not 0 <= index < len(self.entries):
            raise ValueError(f"index: expected an episode in [0, {len(self.entries)}), found {index}")
        wanted = self.keys if keys is None else list(keys)
        unknown = sorted(set(wanted) - set(self.keys))
        if unknown:
            raise ValueError(f"keys: expected some of {self.keys}, found {unknown}")
        entry = self.entries[index]
        rows = self._rows(entry)
        episode: dict[str, Any] = {"task": self._tasks_of(entry, rows)}
        for key in wanted:
            feature = self.info.features[key]
            episode[key] = self._column(entry, rows, key) if feature.is_numeric else self._frames(entry, feature)
        return episode

    def load_episodes(
        self, keys: Sequence[str], episodes: Sequence[int] | None = None, progress: bool = False
    ) -> dict[str, NDArray]:
        """Read features of many episodes into one array each.

        Args:
            keys: features to read.
            episodes: numbers of the episodes; None reads all.
            progress: show a progress bar.

        Returns:
            By key: the episodes' arrays one after the other, and `episode_index` (total,) int64.

        Raises:
            ValueError: as `episode`.
        """
        indices = range(self.num_episodes) if episodes is None else list(episodes)
        wanted = list(dict.fromkeys([*keys, "episode_index"]))
        total = sum(self.entries[index].length for index in indices)
        result: dict[str, NDArray] = {}
        start = 0
        for index in tqdm(indices, desc="loading episodes", unit="episode", disable=not progress):
            episode = self.episode(index, wanted)
            stop = start + self.entries[index].length
            for key in wanted:
                # Filled in place: joining a list at the end would take twice the memory.
                if key not in result:
                    result[key] = np.empty((total, *episode[key].shape[1:]), episode[key].dtype)
                result[key][start:stop] = episode[key]
            start = stop
        return result

    def close(self) -> None:
        """Close the files that are kept open."""
        for _, reader in self._videos.values():
            reader.close()
        self._videos.clear()
        self._table = None

    def _rows(self, entry: EpisodeEntry) -> pa.Table:
        if self._table is None or self._table[0] != entry.rows_path:
            columns = [key for key, feature in self.info.features.items() if feature.is_numeric]
            self._table = (entry.rows_path, read_parquet(self.root, entry.rows_path, columns))
        rows = self._table[1].slice(entry.first_row, entry.length)
        if len(rows) != entry.length:
            raise ValueError(
                f"{entry.rows_path}: expected {entry.length} rows of episode {entry.index}, found {len(rows)}"
            )
        numbers = self._column(entry, rows, "episode_index")
        if (numbers != entry.index).any():
            raise ValueError(
                f"{entry.rows_path}: expected rows of episode {entry.index} from row {entry.first_row}, "
                f"found episodes {np.unique(numbers)[:5].tolist()}"
            )
        return rows

    def _column(self, entry: EpisodeEntry, rows: pa.Table, key: str) -> NDArray:
        feature = self.info.features[key]
        try:
            values = column_values(rows, feature)
        except ValueError as error:
            raise ValueError(f"{entry.rows_path}: episode {entry.index}: {error}") from error
        return values[:, 0] if feature.shape == (1,) else values

    def _tasks_of(self, entry: EpisodeEntry, rows: pa.Table) -> list[str]:
        numbers = self._column(entry, rows, "task_index")
        if numbers.min() < 0 or numbers.max() >= len(self.tasks):
            raise ValueError(
                f"{entry.rows_path}: episode {entry.index}: task_index: expected 0 to {len(self.tasks) - 1}, "
                f"found {numbers.min()} to {numbers.max()}"
            )
        return [self.tasks[number] for number in numbers]

    def _frames(self, entry: EpisodeEntry, feature: Feature) -> NDArray:
        place = entry.frames[feature.key]
        kept = self._videos.get(feature.key)
        if kept is None or kept[0] != place.path:
            if kept is not None:
                kept[1].close()
                del self._videos[feature.key]
            codec = video.depth_codec(place.path) if feature.dtype == "depth" else video.COLOUR
            path = resolve_inside(self.root, place.path)
            reader = video.VideoReader(path, codec, self.info.fps, *feature.shape[:2], name=place.path)
            self._videos[feature.key] = kept = (place.path, reader)
        frames = kept[1].read(place.start, entry.length)
        return decode_depth(frames) if feature.dtype == "depth" else frames
