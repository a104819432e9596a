"""`LeRobotWriter`: record episodes into a LeRobot dataset (format v3.0) that survives being killed.

An episode is recorded into a hidden staging folder and becomes part of the dataset by one rename. Staged episodes are
joined into the large files of the format when they have grown to `file_megabytes`, and at the end. The table in
`meta/episodes` is written last and is the point of commitment: files that it does not name do not exist for a reader,
and are overwritten by the next attempt.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from representation.data import video
from representation.data.checksums import write_checksums
from representation.data.depth import CODES_PER_METRE, DEPTH_ENCODING, encode_depth
from representation.data.lerobot_format import (
    CHUNK_SIZE,
    DATA_PATH,
    DEPTH_PATH,
    EPISODES_PATH,
    INDEX_FEATURES,
    INFO_PATH,
    STATS_PATH,
    TASKS_PATH,
    V30,
    VIDEO_PATH,
    DatasetInfo,
    Feature,
    format_path,
    parse_feature,
    parse_info,
)
from representation.data.parquet_columns import column_from_values, column_values, task_table
from representation.data.statistics import Statistics, array_statistics, histogram_statistics, merge_statistics
from representation.data.untrusted_files import read_json, read_parquet

STAGING = ".staging"
_LEVELS = {
    "video": np.arange(256) / 255.0,
    "depth": np.arange(65536) / CODES_PER_METRE,
}


@dataclass(frozen=True, slots=True)
class _Committed:
    """What the tables in `meta/` say has been written."""

    episodes: int
    frames: int
    files: int
    tasks: list[str]


class LeRobotWriter:
    """Record episodes frame by frame.

    Example:
        writer = LeRobotWriter(root, fps=10, features={"observation.state": {"dtype": "float32", "shape": (8,)}})
        for state in states:
            writer.add_frame({"observation.state": state}, task="push the red cube")
        writer.save_episode()
        writer.finalize()

    Args:
        root: directory to create; it must not hold a dataset yet (`resume` continues one).
        fps: frames per second.
        features: by key, `dtype`, `shape` and, if wanted, `names`. A dtype is `video` ((H, W, 3) uint8), `depth`
            ((H, W) float32 metres, NaN where unknown) or that of a row of numbers ((n,)).
        robot_type: name of the robot.
        file_megabytes: size of staged episodes at which they are joined into one set of files.

    Raises:
        ValueError: a feature is not one that can be written, or `root` holds a dataset.
    """

    def __init__(
        self,
        root: str | Path,
        fps: float,
        features: Mapping[str, Mapping[str, Any]],
        robot_type: str | None = None,
        file_megabytes: float = 200.0,
    ) -> None:
        root = Path(root)
        if (root / INFO_PATH).exists():
            raise ValueError(f"{root}: expected no dataset, found {INFO_PATH}; continue it with LeRobotWriter.resume")
        info = _new_info(fps, _checked_features(features), robot_type)
        (root / STAGING).mkdir(parents=True, exist_ok=True)
        (root / "meta").mkdir(exist_ok=True)
        _write_json(root / INFO_PATH, info)
        self._open(root, info, file_megabytes)

    @classmethod
    def resume(cls, root: str | Path, file_megabytes: float = 200.0) -> LeRobotWriter:
        """Continue a dataset, finalized or killed, after its last whole episode.

        Args:
            root: directory of a dataset that this class wrote.
            file_megabytes: as in the constructor.

        Raises:
            ValueError: there is no dataset of format v3.0, or it is damaged.
        """
        root = Path(root)
        info = read_json(root, INFO_PATH)
        if parse_info(info).version != V30:
            raise ValueError(f"{root}: expected format {V30} to append to, found {info['codebase_version']}")
        writer = cls.__new__(cls)
        writer._open(root, info, file_megabytes)
        return writer

    def _open(self, root: Path, info: dict[str, Any], file_megabytes: float) -> None:
        self.root = root
        self._info_json = info
        self.info: DatasetInfo = parse_info(info)
        self._recorded = {key: feature for key, feature in self.info.features.items() if key not in INDEX_FEATURES}
        self._max_staged_bytes = file_megabytes * 2**20
        staging = root / STAGING
        staging.mkdir(exist_ok=True)
        shutil.rmtree(staging / "recording", ignore_errors=True)
        self._committed = _read_committed(root)
        for folder in sorted(staging.glob("episode-*")):
            if int(folder.name.removeprefix("episode-")) < self._committed.episodes:
                shutil.rmtree(folder)
        self._staged = sorted(staging.glob("episode-*"))
        self._staged_bytes = sum(file.stat().st_size for file in staging.rglob("*") if file.is_file())
        self._start_recording()

    @property
    def num_episodes(self) -> int:
        """Number of episodes that are safe on disk."""
        return self._committed.episodes + len(self._staged)

    @property
    def num_frames(self) -> int:
        """Number of frames of the episode that is being recorded."""
        return len(self._tasks)

    def add_frame(self, frame: Mapping[str, Any], task: str) -> None:
        """Append one frame to the episode that is being recorded.

        Args:
            frame: a value for every feature.
            task: what is being done, in plain language.

        Raises:
            ValueError: keys, shapes or dtypes differ from the features, or a number is not finite.
        """
        if not isinstance(task, str) or not task:
            raise ValueError(f"task: expected a sentence, found {task!r}")
        if set(frame) != set(self._recorded):
            raise ValueError(f"frame: expected keys {sorted(self._recorded)}, found {sorted(frame)}")
        values = {key: _checked_value(feature, frame[key]) for key, feature in self._recorded.items()}
        for key, value in values.items():
            if self._recorded[key].is_numeric:
                self._rows[key].append(value)
            else:
                self._write_image(self._recorded[key], value)
        self._tasks.append(task)

    def save_episode(self) -> None:
        """Make the recorded frames an episode of the dataset; atomic.

        Raises:
            ValueError: there are no frames.
        """
        if not self._tasks:
            raise ValueError("save_episode: expected at least one frame, found none")
        for encoder in self._encoders.values():
            encoder.close()
        self._encoders.clear()
        length = len(self._tasks)
        columns = {key: np.stack(rows) for key, rows in self._rows.items()}
        columns["timestamp"] = (np.arange(length) / self.info.fps).astype(np.float32)[:, None]
        columns["frame_index"] = np.arange(length)[:, None]
        stats = {key: array_statistics(values) for key, values in columns.items()}
        stats |= {
            key: histogram_statistics(counts, _LEVELS[self._recorded[key].dtype], self._pixel_count(key, counts))
            for key, counts in self._histograms.items()
        }
        table = pa.table({key: column_from_values(self.info.features[key], values) for key, values in columns.items()})
        self._folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, self._folder / "rows.parquet")
        _write_json(self._folder / "episode.json", {"tasks": self._tasks, "stats": _to_lists(stats)})
        target = self.root / STAGING / f"episode-{self.num_episodes:06d}"
        self._folder.rename(target)
        self._staged.append(target)
        self._staged_bytes += sum(file.stat().st_size for file in target.iterdir())
        self._start_recording()
        if self._staged_bytes > self._max_staged_bytes:
            self._join_staged()

    def discard_episode(self) -> None:
        """Forget the frames since the last `save_episode`."""
        for encoder in self._encoders.values():
            encoder.abandon()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._start_recording()

    def finalize(self) -> None:
        """Join what is staged, write statistics and checksums. The dataset is complete afterwards.

        Frames that were not saved as an episode are dropped.

        Raises:
            ValueError: the dataset has no episode.
        """
        self.discard_episode()
        if self.num_episodes == 0:
            raise ValueError(f"{self.root}: expected at least one episode, found none")
        self._join_staged()
        self._write_info()
        self._write_statistics()
        shutil.rmtree(self.root / STAGING)
        write_checksums(self.root)

    def _start_recording(self) -> None:
        self._folder = self.root / STAGING / "recording"
        self._tasks: list[str] = []
        self._rows: dict[str, list[NDArray]] = {key: [] for key, feat in self._recorded.items() if feat.is_numeric}
        self._encoders: dict[str, video.VideoWriter] = {}
        self._histograms: dict[str, NDArray[np.int64]] = {}

    def _write_image(self, feature: Feature, image: NDArray) -> None:
        key, is_depth = feature.key, feature.dtype == "depth"
        if key not in self._encoders:
            self._folder.mkdir(parents=True, exist_ok=True)
            codec = video.DEPTH if is_depth else video.COLOUR
            path = self._folder / _staged_video(feature)
            self._encoders[key] = video.VideoWriter(path, codec, self.info.fps, *feature.shape[:2])
            self._histograms[key] = np.zeros((1 if is_depth else 3, len(_LEVELS[feature.dtype])), np.int64)
        self._encoders[key].write(image)
        planes = image.reshape(-1, 1 if is_depth else 3).T
        counts = self._histograms[key]
        for channel, plane in enumerate(planes):
            counts[channel] += np.bincount(plane, minlength=counts.shape[1])
        if is_depth:
            counts[0, 0] = 0  # unknown depths are no depths

    def _pixel_count(self, key: str, counts: NDArray[np.int64]) -> int:
        # Depth is weighted by its known pixels when episodes are merged; colour, as in LeRobot, by frames.
        return int(counts.sum()) if self._recorded[key].dtype == "depth" else len(self._tasks)

    def _join_staged(self) -> None:
        """Turn the staged episodes into one more set of files."""
        if not self._staged:
            return
        episodes = [read_json(folder, "episode.json") for folder in self._staged]
        lengths = [len(episode["tasks"]) for episode in episodes]
        chunk, file = divmod(self._committed.files, CHUNK_SIZE)
        place = {"chunk_index": chunk, "file_index": file}
        tasks = list(dict.fromkeys([*self._committed.tasks, *(task for e in episodes for task in e["tasks"])]))
        _write_table(self.root / TASKS_PATH, task_table(tasks))
        self._join_rows(episodes, lengths, tasks, place)
        media = {key: feature for key, feature in self._recorded.items() if not feature.is_numeric}
        for key, feature in media.items():
            codec, template = (video.DEPTH, DEPTH_PATH) if feature.dtype == "depth" else (video.COLOUR, VIDEO_PATH)
            path = self.root / format_path(template, video_key=key, depth_key=key, **place)
            path.parent.mkdir(parents=True, exist_ok=True)
            sources = [folder / _staged_video(feature) for folder in self._staged]
            video.join_videos(sources, lengths, path, codec, self.info.fps)
        rows = self._episode_rows(episodes, lengths, media, place)
        _write_table(self.root / format_path(EPISODES_PATH, **place), pa.Table.from_pylist(rows))
        for folder in self._staged:
            shutil.rmtree(folder)
        self._staged, self._staged_bytes = [], 0
        self._committed = _read_committed(self.root)
        self._write_info()

    def _write_info(self) -> None:
        self._info_json |= {
            "total_episodes": self._committed.episodes,
            "total_frames": self._committed.frames,
            "total_tasks": len(self._committed.tasks),
            "splits": {"train": f"0:{self._committed.episodes}"},
        }
        _write_json(self.root / INFO_PATH, self._info_json)
        self.info = parse_info(self._info_json)

    def _join_rows(
        self, episodes: Sequence[Mapping], lengths: Sequence[int], tasks: Sequence[str], place: dict[str, int]
    ) -> None:
        total, first = sum(lengths), self._committed.episodes
        table = pa.concat_tables([read_parquet(folder, "rows.parquet") for folder in self._staged]).combine_chunks()
        index_of = {task: number for number, task in enumerate(tasks)}
        added = {
            "episode_index": np.repeat(np.arange(first, first + len(lengths)), lengths),
            "index": np.arange(self._committed.frames, self._committed.frames + total),
            "task_index": np.array([index_of[task] for episode in episodes for task in episode["tasks"]]),
        }
        for key, values in added.items():
            table = table.append_column(key, pa.array(values, pa.int64()))
        _write_table(self.root / format_path(DATA_PATH, **place), table)

    def _episode_rows(
        self, episodes: Sequence[Mapping], lengths: Sequence[int], media: Mapping[str, Feature], place: dict[str, int]
    ) -> list[dict[str, Any]]:
        rows, start = [], 0
        for number, (episode, length) in enumerate(zip(episodes, lengths, strict=True)):
            begin = self._committed.frames + start
            row: dict[str, Any] = {
                "episode_index": self._committed.episodes + number,
                "tasks": list(dict.fromkeys(episode["tasks"])),
                "length": length,
                "dataset_from_index": begin,
                "dataset_to_index": begin + length,
            }
            row |= {f"data/{name}": value for name, value in place.items()}
            for key, feature in media.items():
                prefix = f"{'depth' if feature.dtype == 'depth' else 'videos'}/{key}"
                row |= {f"{prefix}/{name}": value for name, value in place.items()}
                row[f"{prefix}/from_timestamp"] = start / self.info.fps
                row[f"{prefix}/to_timestamp"] = (start + length) / self.info.fps
            row |= {f"meta/episodes/{name}": value for name, value in place.items()}
            for key, stats in episode["stats"].items():
                row |= {f"stats/{key}/{name}": value for name, value in stats.items()}
            rows.append(row)
            start += length
        return rows

    def _write_statistics(self) -> None:
        """Statistics of the whole dataset: exact for numbers, merged over the episodes for images."""
        columns = [key for key, feature in self.info.features.items() if feature.is_numeric]
        data = [self._committed_table(DATA_PATH, file, columns) for file in range(self._committed.files)]
        table = pa.concat_tables(data)
        stats = {key: array_statistics(column_values(table, self.info.features[key])) for key in columns}
        images = [key for key, feature in self._recorded.items() if not feature.is_numeric]
        if images:
            tables = [self._committed_table(EPISODES_PATH, file, None) for file in range(self._committed.files)]
            for key in images:
                stats[key] = merge_statistics([part for table in tables for part in _stored_statistics(table, key)])
        _write_json(self.root / STATS_PATH, _to_lists(stats))

    def _committed_table(self, template: str, file: int, columns: Sequence[str] | None) -> pa.Table:
        chunk, file = divmod(file, CHUNK_SIZE)
        return read_parquet(self.root, format_path(template, chunk_index=chunk, file_index=file), columns)


def _checked_features(features: Mapping[str, Mapping[str, Any]]) -> dict[str, Feature]:
    parsed = {key: parse_feature(key, spec) for key, spec in features.items()}
    for key, feature in parsed.items():
        if key in INDEX_FEATURES:
            raise ValueError(f"features[{key!r}]: expected no entry, the writer fills this column in")
        if not feature.is_numeric and feature.dtype not in ("video", "depth"):
            raise ValueError(f"features[{key!r}].dtype: expected video, depth or a number type, found {feature.dtype}")
        if feature.is_numeric and len(feature.shape) != 1:
            raise ValueError(f"features[{key!r}].shape: expected (n,), found {feature.shape}")
    return parsed


def _new_info(fps: float, features: Mapping[str, Feature], robot_type: str | None) -> dict[str, Any]:
    table = {key: {"dtype": f.dtype, "shape": list(f.shape), "names": f.names} for key, f in features.items()}
    for key, feature in features.items():
        if feature.dtype == "video":
            height, width, channels = feature.shape
            table[key]["names"] = ["height", "width", "channels"]
            table[key]["info"] = {
                "video.fps": fps,
                "video.height": height,
                "video.width": width,
                "video.channels": channels,
                "video.codec": "h264",
                "video.pix_fmt": video.COLOUR.stored_format,
                "video.is_depth_map": False,
                "has_audio": False,
            }
        elif feature.dtype == "depth":
            table[key] |= {"names": ["height", "width"], "info": dict(DEPTH_ENCODING)}
    index = {key: {"dtype": dtype, "shape": [1], "names": None} for key, dtype in INDEX_FEATURES.items()}
    return {
        "codebase_version": V30,
        "robot_type": robot_type,
        "total_episodes": 0,
        "total_frames": 0,
        "total_tasks": 0,
        "chunks_size": CHUNK_SIZE,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {"train": "0:0"},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH if any(f.dtype == "video" for f in features.values()) else None,
        "features": {key: spec for key, spec in table.items() if spec["dtype"] != "depth"} | index,
        "depth_path": DEPTH_PATH,
        "depth_features": {key: spec for key, spec in table.items() if spec["dtype"] == "depth"},
    }


def _checked_value(feature: Feature, value: Any) -> NDArray:
    array = np.asarray(value)
    if array.shape != feature.shape:
        raise ValueError(f"{feature.key}: expected shape {feature.shape}, found {array.shape}")
    if feature.dtype == "video":
        if array.dtype != np.uint8:
            raise ValueError(f"{feature.key}: expected uint8, found {array.dtype}")
        return np.ascontiguousarray(array)
    if feature.dtype == "depth":
        if array.dtype != np.float32:
            raise ValueError(f"{feature.key}: expected float32 metres, found {array.dtype}")
        return encode_depth(array)
    if not np.can_cast(array.dtype, feature.dtype, casting="same_kind"):
        raise ValueError(f"{feature.key}: expected {feature.dtype}, found {array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError(f"{feature.key}: expected finite numbers, found {array}")
    return array.astype(feature.dtype)


def _staged_video(feature: Feature) -> str:
    return f"{feature.key}.{'mkv' if feature.dtype == 'depth' else 'mp4'}"


def _read_committed(root: Path) -> _Committed:
    episodes = frames = files = 0
    while True:
        chunk, file = divmod(files, CHUNK_SIZE)
        relative = format_path(EPISODES_PATH, chunk_index=chunk, file_index=file)
        if not (root / relative).exists():
            break
        table = read_parquet(root, relative, ["length"])
        episodes, frames, files = episodes + len(table), frames + sum(table["length"].to_pylist()), files + 1
    tasks = []
    if files:
        table = read_parquet(root, TASKS_PATH, ["task_index", "__index_level_0__"]).sort_by("task_index")
        tasks = table["__index_level_0__"].to_pylist()
    return _Committed(episodes, frames, files, tasks)


def _stored_statistics(table: pa.Table, key: str) -> list[Statistics]:
    prefix = f"stats/{key}/"
    names = [name for name in table.column_names if name.startswith(prefix)]
    columns = {name.removeprefix(prefix): table[name].to_pylist() for name in names}
    return [{name: np.array(values[row]) for name, values in columns.items()} for row in range(len(table))]


def _to_lists(stats: Mapping[str, Statistics]) -> dict[str, dict[str, list]]:
    return {key: {name: np.asarray(value).tolist() for name, value in part.items()} for key, part in stats.items()}


def _write_json(path: Path, value: object) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=1))
    part.replace(path)


def _write_table(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    pq.write_table(table, part, compression="zstd")
    part.replace(path)
