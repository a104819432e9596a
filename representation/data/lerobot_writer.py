"""`LeRobotWriter`: record episodes into a LeRobot dataset (format v3.0) that survives being killed.

An episode is recorded into a hidden staging folder and becomes part of the dataset by one rename. Staged episodes are
joined into the large files of the format when they have grown to `file_megabytes`, and at the end. The table in
`meta/episodes` is written last and is the point of commitment: files that it does not name do not exist for a reader,
and are overwritten by the next attempt.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from representation.data import video
from representation.data.atomic_files import write_json, write_table
from representation.data.checksums import write_checksums
from representation.data.depth import DEPTH_ENCODING
from representation.data.episode_recorder import (
    EPISODE_FILE,
    ROWS_FILE,
    EpisodeRecorder,
    statistics_to_lists,
    video_file,
)
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
from representation.data.parquet_columns import column_values, task_table
from representation.data.statistics import Statistics, array_statistics, merge_statistics
from representation.data.untrusted_files import read_json, read_parquet

STAGING = ".staging"


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
        fast: encode colour in a third of the time, into twice the size, and depth in a ninth, into half again the size.

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
        fast: bool = False,
    ) -> None:
        root = Path(root)
        if (root / INFO_PATH).exists():
            raise ValueError(f"{root}: expected no dataset, found {INFO_PATH}; continue it with LeRobotWriter.resume")
        colour, depth = (video.FAST_COLOUR, video.FAST_DEPTH) if fast else (video.COLOUR, video.DEPTH)
        info = _new_info(fps, _checked_features(features), robot_type, colour, depth)
        (root / STAGING).mkdir(parents=True, exist_ok=True)
        (root / "meta").mkdir(exist_ok=True)
        write_json(root / INFO_PATH, info)
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
        self._max_staged_bytes = file_megabytes * 2**20
        staging = root / STAGING
        staging.mkdir(exist_ok=True)
        self._committed = _read_committed(root)
        for folder in sorted(staging.glob("episode-*")):
            if int(folder.name.removeprefix("episode-")) < self._committed.episodes:
                shutil.rmtree(folder)
        self._staged = sorted(staging.glob("episode-*"))
        self._staged_bytes = sum(file.stat().st_size for file in staging.rglob("*") if file.is_file())
        self._recorder = self._new_recorder()

    @property
    def num_episodes(self) -> int:
        """Number of episodes that are safe on disk."""
        return self._committed.episodes + len(self._staged)

    @property
    def num_frames(self) -> int:
        """Number of frames of the episode that is being recorded."""
        return len(self._recorder)

    def add_frame(self, frame: Mapping[str, Any], task: str) -> None:
        """Append one frame to the episode that is being recorded.

        Args:
            frame: a value for every feature.
            task: what is being done, in plain language.

        Raises:
            ValueError: keys, shapes or dtypes differ from the features, or a number is not finite.
        """
        self._recorder.add_frame(frame, task)

    def save_episode(self) -> None:
        """Make the recorded frames an episode of the dataset; atomic.

        Raises:
            ValueError: there are no frames.
        """
        target = self.root / STAGING / f"episode-{self.num_episodes:06d}"
        self._recorder.save(target)
        self._staged.append(target)
        self._staged_bytes += sum(file.stat().st_size for file in target.iterdir())
        self._recorder = self._new_recorder()
        if self._staged_bytes > self._max_staged_bytes:
            self._join_staged()

    def discard_episode(self) -> None:
        """Forget the frames since the last `save_episode`."""
        self._recorder.discard()
        self._recorder = self._new_recorder()

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

    def _new_recorder(self) -> EpisodeRecorder:
        return EpisodeRecorder(self.root / STAGING / "recording", self.info, self._codec_of)

    def _codec_of(self, feature: Feature) -> video.VideoCodec:
        """How frames of a video or depth feature are stored; in all files of a dataset alike, so that they join."""
        if feature.dtype == "depth":
            return video.depth_codec(self.info.depth_path)
        details = self._info_json["features"][feature.key].get("info")
        fast = isinstance(details, dict) and details.get("video.preset") == video.FAST_COLOUR.options["preset"]
        return video.FAST_COLOUR if fast else video.COLOUR

    def _join_staged(self) -> None:
        """Turn the staged episodes into one more set of files."""
        if not self._staged:
            return
        episodes = [read_json(folder, EPISODE_FILE) for folder in self._staged]
        lengths = [len(episode["tasks"]) for episode in episodes]
        chunk, file = divmod(self._committed.files, CHUNK_SIZE)
        place = {"chunk_index": chunk, "file_index": file}
        tasks = list(dict.fromkeys([*self._committed.tasks, *(task for e in episodes for task in e["tasks"])]))
        write_table(self.root / TASKS_PATH, task_table(tasks))
        self._join_rows(episodes, lengths, tasks, place)
        media = {key: feature for key, feature in self.info.features.items() if not feature.is_numeric}
        for key, feature in media.items():
            template = self.info.depth_path if feature.dtype == "depth" else VIDEO_PATH
            path = self.root / format_path(template, video_key=key, depth_key=key, **place)
            path.parent.mkdir(parents=True, exist_ok=True)
            codec = self._codec_of(feature)
            sources = [folder / video_file(feature, codec) for folder in self._staged]
            video.join_videos(sources, lengths, path, codec, self.info.fps)
        rows = self._episode_rows(episodes, lengths, tasks, media, place)
        write_table(self.root / format_path(EPISODES_PATH, **place), pa.Table.from_pylist(rows))
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
        write_json(self.root / INFO_PATH, self._info_json)
        self.info = parse_info(self._info_json)

    def _join_rows(
        self, episodes: Sequence[Mapping], lengths: Sequence[int], tasks: Sequence[str], place: dict[str, int]
    ) -> None:
        total, first = sum(lengths), self._committed.episodes
        table = pa.concat_tables([read_parquet(folder, ROWS_FILE) for folder in self._staged]).combine_chunks()
        index_of = {task: number for number, task in enumerate(tasks)}
        added = {
            "episode_index": np.repeat(np.arange(first, first + len(lengths)), lengths),
            "index": np.arange(self._committed.frames, self._committed.frames + total),
            "task_index": np.array([index_of[task] for episode in episodes for task in episode["tasks"]]),
        }
        for key, values in added.items():
            table = table.append_column(key, pa.array(values, pa.int64()))
        write_table(self.root / format_path(DATA_PATH, **place), table)

    def _episode_rows(
        self,
        episodes: Sequence[Mapping],
        lengths: Sequence[int],
        tasks: Sequence[str],
        media: Mapping[str, Feature],
        place: dict[str, int],
    ) -> list[dict[str, Any]]:
        rows, start = [], 0
        index_of = {task: number for number, task in enumerate(tasks)}
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
            numbers = {
                "episode_index": np.full(length, row["episode_index"]),
                "index": np.arange(begin, begin + length),
                "task_index": np.array([index_of[task] for task in episode["tasks"]]),
            }
            known = statistics_to_lists({key: array_statistics(values[:, None]) for key, values in numbers.items()})
            for key, stats in (episode["stats"] | known).items():
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
        images = [key for key, feature in self.info.features.items() if not feature.is_numeric]
        if images:
            tables = [self._committed_table(EPISODES_PATH, file, None) for file in range(self._committed.files)]
            for key in images:
                stats[key] = merge_statistics([part for table in tables for part in _stored_statistics(table, key)])
        write_json(self.root / STATS_PATH, statistics_to_lists(stats))

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


def _new_info(
    fps: float,
    features: Mapping[str, Feature],
    robot_type: str | None,
    colour: video.VideoCodec,
    depth: video.VideoCodec,
) -> dict[str, Any]:
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
                "video.pix_fmt": colour.stored_format,
                "video.preset": colour.options["preset"],
                "video.is_depth_map": False,
                "has_audio": False,
            }
        elif feature.dtype == "depth":
            table[key] |= {"names": ["height", "width"], "info": {"codec": depth.encoder, **DEPTH_ENCODING}}
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
        "depth_path": DEPTH_PATH + depth.suffix,
        "depth_features": {key: spec for key, spec in table.items() if spec["dtype"] == "depth"},
    }


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
