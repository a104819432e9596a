"""A second opinion on LeRobot datasets of format v3.0, from the published description and without the package."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

INFO_KEYS = {
    "codebase_version": str,
    "fps": (int, float),
    "features": dict,
    "total_episodes": int,
    "total_frames": int,
    "total_tasks": int,
    "chunks_size": int,
    "data_files_size_in_mb": (int, float),
    "video_files_size_in_mb": (int, float),
    "data_path": str,
    "splits": dict,
}
INDEX_COLUMNS = {
    "timestamp": pa.float32(),
    "frame_index": pa.int64(),
    "episode_index": pa.int64(),
    "index": pa.int64(),
    "task_index": pa.int64(),
}
EPISODE_COLUMNS = {"episode_index", "tasks", "length", "dataset_from_index", "dataset_to_index"}
EPISODE_COLUMNS |= {f"{part}/{name}" for part in ("data", "meta/episodes") for name in ("chunk_index", "file_index")}
VIDEO_COLUMNS = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
STATISTICS = {"min", "max", "mean", "std", "count"}


def check(root: Path) -> None:
    """Fail at the first thing that a reader of the format would stumble over."""
    info = json.loads((root / "meta/info.json").read_text())
    for key, kind in INFO_KEYS.items():
        assert isinstance(info[key], kind), f"info.json: {key}"
    assert info["codebase_version"] == "v3.0"
    assert info["data_path"] == "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    assert info["splits"] == {"train": f"0:{info['total_episodes']}"}
    videos = [key for key, feature in info["features"].items() if feature["dtype"] == "video"]
    if videos:
        assert info["video_path"] == "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    episodes = [
        row for file in sorted(root.glob("meta/episodes/*/*.parquet")) for row in pq.read_table(file).to_pylist()
    ]
    data = pa.concat_tables([pq.read_table(file) for file in sorted(root.glob("data/*/*.parquet"))])
    _check_tasks(root, info, data)
    _check_data(info, data)
    _check_episodes(root, info, episodes, videos)
    _check_statistics(root, info, episodes)


def _check_tasks(root: Path, info: dict, data: pa.Table) -> None:
    tasks = pq.read_table(root / "meta/tasks.parquet").to_pandas()
    assert list(tasks.columns) == ["task_index"], "the sentences are the index"
    assert sorted(tasks["task_index"]) == list(range(info["total_tasks"]))
    assert set(data["task_index"].to_pylist()) <= set(tasks["task_index"])


def _check_data(info: dict, data: pa.Table) -> None:
    assert len(data) == info["total_frames"]
    assert data["index"].to_pylist() == list(range(len(data)))
    for name, kind in INDEX_COLUMNS.items():
        assert info["features"][name] == {"dtype": _name(kind), "shape": [1], "names": None}
        assert data.schema.field(name).type == kind, name
    for name, feature in info["features"].items():
        assert set(feature) >= {"dtype", "shape", "names"}, name
        if feature["dtype"] == "video":
            assert name not in data.column_names
            assert feature["names"] == ["height", "width", "channels"]
            continue
        kind, shape = data.schema.field(name).type, feature["shape"]
        element = kind.value_type if pa.types.is_fixed_size_list(kind) else kind
        assert (kind.list_size if pa.types.is_fixed_size_list(kind) else 1) == shape[0], name
        assert _name(element) == feature["dtype"], name
    frames = np.array(data["frame_index"]) / info["fps"]
    np.testing.assert_allclose(np.array(data["timestamp"]), frames, atol=1e-4)


def _name(kind: pa.DataType) -> str:
    """Name of a type as NumPy has it."""
    return np.dtype(kind.to_pandas_dtype()).name


def _check_episodes(root: Path, info: dict, episodes: list[dict], videos: list[str]) -> None:
    assert [row["episode_index"] for row in episodes] == list(range(info["total_episodes"]))
    begin = 0
    for row in episodes:
        assert set(row) >= EPISODE_COLUMNS
        assert (row["dataset_from_index"], row["dataset_to_index"]) == (begin, begin + row["length"])
        begin += row["length"]
        place = {name: row[f"data/{name}"] for name in ("chunk_index", "file_index")}
        rows = pq.read_table(root / info["data_path"].format(**place))
        own = np.array(rows["episode_index"]) == row["episode_index"]
        assert np.array(rows["frame_index"])[own].tolist() == list(range(row["length"]))
        for key in videos:
            chunk, file, start, end = (row[f"videos/{key}/{name}"] for name in VIDEO_COLUMNS)
            assert np.isclose(end - start, row["length"] / info["fps"])
            path = root / info["video_path"].format(video_key=key, chunk_index=chunk, file_index=file)
            _check_video(path, info, key, start, row["length"])


def _check_video(path: Path, info: dict, key: str, start: float, length: int) -> None:
    feature = info["features"][key]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert [stream.height, stream.width, 3] == feature["shape"]
        assert abs(float(stream.average_rate) - info["fps"]) < 0.01
        times = [float(frame.pts * frame.time_base) for frame in container.decode(stream)]
    for number in range(length):
        wanted = start + number / info["fps"]
        assert min(abs(time - wanted) for time in times) < 1e-4, f"{path}: no frame at {wanted}"


def _check_statistics(root: Path, info: dict, episodes: list[dict]) -> None:
    stats = json.loads((root / "meta/stats.json").read_text())
    for name, feature in info["features"].items():
        assert set(stats[name]) >= STATISTICS, name
        shape = (3, 1, 1) if feature["dtype"] == "video" else tuple(feature["shape"])
        for kind in ("min", "max", "mean", "std"):
            assert np.shape(stats[name][kind]) == shape, f"{name}: {kind}"
        for row in episodes:
            assert np.shape(row[f"stats/{name}/mean"]) == shape, f"episode {row['episode_index']}: {name}"
