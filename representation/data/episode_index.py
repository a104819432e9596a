"""The index of a dataset: its tasks, and of each episode length, tasks and where its rows and frames are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import pyarrow as pa

from representation.data.lerobot_format import EPISODES_PATH, TASKS_PATH, V30, DatasetInfo, Feature, format_path
from representation.data.untrusted_files import read_json_lines, read_parquet

EPISODES_LINES_PATH = "meta/episodes.jsonl"
TASKS_LINES_PATH = "meta/tasks.jsonl"
MAX_EPISODE_LENGTH = 10_000_000
HOW_TO_COMPLETE = "a recording that was interrupted is completed by LeRobotWriter.resume(root).finalize()"


@dataclass(frozen=True, slots=True)
class FramePlace:
    """Where an episode's frames are.

    Attributes:
        path: video, relative to the dataset.
        start: seconds from the beginning of the video to the first frame.
    """

    path: str
    start: float


@dataclass(frozen=True, slots=True)
class EpisodeEntry:
    """One episode of the index.

    Attributes:
        index: number of the episode.
        length: number of frames.
        tasks: what is done in it.
        rows_path: parquet file, relative to the dataset.
        first_row: its first row in that file.
        frames: where its frames are, by key of the video or depth feature.
    """

    index: int
    length: int
    tasks: tuple[str, ...]
    rows_path: str
    first_row: int
    frames: dict[str, FramePlace]


def read_tasks(root: Path, info: DatasetInfo) -> list[str]:
    """Sentences of all tasks by their number.

    Raises:
        ValueError: the table is missing or not a numbering of sentences.
    """
    if info.version == V30:
        where, table = TASKS_PATH, read_parquet(root, TASKS_PATH)
        # Pandas calls the index column by its name or, where it has none, __index_level_0__.
        texts = [field.name for field in table.schema if pa.types.is_string(field.type) or _is_large(field.type)]
        if "task_index" not in table.column_names or len(texts) != 1:
            raise ValueError(f"{where}: expected task_index and one text column, found {table.column_names}")
        pairs = list(zip(table["task_index"].to_pylist(), table[texts[0]].to_pylist(), strict=True))
    else:
        where = TASKS_LINES_PATH
        pairs = [(row.get("task_index"), row.get("task")) for row in read_json_lines(root, where)]
    if any(type(number) is not int or not isinstance(task, str) for number, task in pairs):
        raise ValueError(f"{where}: expected pairs of a number and a sentence, found others")
    if sorted(number for number, _ in pairs) != list(range(len(pairs))):
        raise ValueError(f"{where}: task_index: expected 0 to {len(pairs) - 1}, found others")
    return [task for _, task in sorted(pairs)]


def read_entries(root: Path, info: DatasetInfo) -> list[EpisodeEntry]:
    """All episodes, in order.

    Raises:
        ValueError: the index is missing or damaged, or is not one of `info.total_episodes` episodes.
    """
    where = "meta/episodes" if info.version == V30 else EPISODES_LINES_PATH
    rows = _episode_rows(root, info) if info.version == V30 else read_json_lines(root, EPISODES_LINES_PATH)
    numbers = [_integer(row, "episode_index", where) for row in rows]
    rows = [row for _, row in sorted(zip(numbers, rows, strict=True), key=lambda pair: pair[0])]
    if sorted(numbers) != list(range(info.total_episodes)):
        raise ValueError(
            f"{where}: expected {info.total_episodes} episodes numbered from 0, as in meta/info.json, found {len(rows)}"
            f"; {HOW_TO_COMPLETE}"
        )
    first_index: dict[str, int] = {}
    entries = []
    for number, row in enumerate(rows):
        if info.version == V30:
            path = format_path(info.data_path, **_file_fields(row, "data", where))
            start = _integer(row, "dataset_from_index", where)
            first_row = start - first_index.setdefault(path, start)
        else:
            path, first_row = format_path(info.data_path, **_episode_fields(info, number)), 0
        frames = {key: _frame_place(info, feature, row, number, where) for key, feature in _media(info).items()}
        length = _integer(row, "length", where)
        if not 1 <= length <= MAX_EPISODE_LENGTH or first_row < 0:
            raise ValueError(f"{where}: episode {number}: expected 1 to {MAX_EPISODE_LENGTH} frames, found {length}")
        entries.append(EpisodeEntry(number, length, _texts(row, where), path, first_row, frames))
    if sum(entry.length for entry in entries) != info.total_frames:
        raise ValueError(
            f"{where}: expected {info.total_frames} frames, as in meta/info.json, "
            f"found {sum(entry.length for entry in entries)}"
        )
    return entries


def _episode_rows(root: Path, info: DatasetInfo) -> list[dict[str, Any]]:
    columns = ["episode_index", "length", "tasks", "dataset_from_index", "data/chunk_index", "data/file_index"]
    for key, feature in _media(info).items():
        columns += [f"{_folder(feature)}/{key}/{name}" for name in ("chunk_index", "file_index", "from_timestamp")]
    rows: list[dict[str, Any]] = []
    chunk = file = 0
    while len(rows) < info.total_episodes:
        rows += read_parquet(root, format_path(EPISODES_PATH, chunk_index=chunk, file_index=file), columns).to_pylist()
        chunk, file = (chunk, file + 1) if file + 1 < info.chunk_size else (chunk + 1, 0)
    return rows


def _frame_place(info: DatasetInfo, feature: Feature, row: Mapping[str, Any], number: int, where: str) -> FramePlace:
    key = feature.key
    template = info.depth_path if feature.dtype == "depth" else info.video_path
    if info.version != V30:
        return FramePlace(format_path(template, video_key=key, **_episode_fields(info, number)), 0.0)
    prefix = f"{_folder(feature)}/{key}"
    name = "depth_key" if feature.dtype == "depth" else "video_key"
    path = format_path(template, **{name: key}, **_file_fields(row, prefix, where))
    start = row[f"{prefix}/from_timestamp"]
    if not isinstance(start, int | float) or not isfinite(start) or not 0 <= start < 1e9:
        raise ValueError(f"{where}: episode {number}: {prefix}/from_timestamp: expected seconds, found {start!r:.50}")
    return FramePlace(path, float(start))


def _media(info: DatasetInfo) -> dict[str, Feature]:
    return {key: feature for key, feature in info.features.items() if feature.dtype in ("video", "depth")}


def _folder(feature: Feature) -> str:
    return "depth" if feature.dtype == "depth" else "videos"


def _file_fields(row: Mapping[str, Any], prefix: str, where: str) -> dict[str, int]:
    return {name: _integer(row, f"{prefix}/{name}", where) for name in ("chunk_index", "file_index")}


def _episode_fields(info: DatasetInfo, number: int) -> dict[str, int]:
    return {"episode_chunk": number // info.chunk_size, "episode_index": number}


def _integer(row: Mapping[str, Any], name: str, where: str) -> int:
    value = row.get(name)
    if type(value) is not int or not 0 <= value < 2**40:
        raise ValueError(f"{where}: {name}: expected a count, found {value!r:.50}")
    return value


def _texts(row: Mapping[str, Any], where: str) -> tuple[str, ...]:
    value = row.get("tasks")
    if not isinstance(value, list) or not all(isinstance(task, str) for task in value):
        raise ValueError(f"{where}: tasks: expected a list of sentences, found {value!r:.100}")
    return tuple(value)


def _is_large(kind: pa.DataType) -> bool:
    return pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
