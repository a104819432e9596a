"""What `meta/info.json` of a LeRobot dataset says: version, rate, features and where the files lie.

Format v3.0 keeps many episodes per file:

    meta/info.json  meta/stats.json  meta/tasks.parquet  meta/episodes/chunk-000/file-000.parquet
    data/chunk-000/file-000.parquet  videos/<key>/chunk-000/file-000.mp4

Format v2.1 keeps one file per episode:

    meta/info.json  meta/episodes.jsonl  meta/tasks.jsonl  meta/episodes_stats.jsonl
    data/chunk-000/episode_000000.parquet  videos/chunk-000/<key>/episode_000000.mp4

Depth is an addition of ours to v3.0. It stands in `info["depth_features"]` and `info["depth_path"]`, beside `features`
rather than inside, and in a folder of its own, so that the stock reader, which knows neither, passes over it.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

V30 = "v3.0"
V21 = "v2.1"

INFO_PATH = "meta/info.json"
STATS_PATH = "meta/stats.json"
TASKS_PATH = "meta/tasks.parquet"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
DEPTH_PATH = "depth/{depth_key}/chunk-{chunk_index:03d}/file-{file_index:03d}"  # and the suffix of the codec
CHUNK_SIZE = 1000

NUMERIC_DTYPES = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "bool")
MAX_FEATURES = 512
MAX_VECTOR_LENGTH = 1_000_000
MAX_IMAGE_SIDE = 8192
MAX_FPS = 10_000

INDEX_FEATURES: Mapping[str, str] = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
"""Columns that every dataset has, with their dtypes; the writer fills them in."""

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")
_FORMAT_SPEC = re.compile(r"(0?[1-9]?d)?")


@dataclass(frozen=True, slots=True)
class Feature:
    """One column, video or depth video of a dataset.

    Attributes:
        key: name, such as `observation.state`.
        dtype: `video`, `depth`, or a NumPy dtype name.
        shape: (n,) of a row; (height, width, 3) of a video frame; (height, width) of a depth frame.
        names: names of the entries or axes, or None.
    """

    key: str
    dtype: str
    shape: tuple[int, ...]
    names: Any = None

    @property
    def is_numeric(self) -> bool:
        """Whether the feature is a column of numbers that this package reads."""
        return self.dtype in NUMERIC_DTYPES


def parse_feature(key: str, spec: object, where: str = "features") -> Feature:
    """Check one entry of a feature table.

    Args:
        key: name of the feature.
        spec: mapping with `dtype`, `shape` and, if wanted, `names`.
        where: what the table is called in errors.

    Raises:
        ValueError: bad key, dtype or shape.
    """
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ValueError(f"{where}: expected keys of letters, digits, '_', '.' and '-', found {key!r}")
    if not isinstance(spec, Mapping) or not isinstance(spec.get("dtype"), str):
        raise ValueError(f"{where}[{key!r}]: expected an object with dtype and shape, found {spec!r:.200}")
    dtype, shape, names = spec["dtype"], spec.get("shape"), spec.get("names")
    if not isinstance(shape, list | tuple) or not all(type(side) is int and side > 0 for side in shape):
        raise ValueError(f"{where}[{key!r}].shape: expected positive integers, found {shape!r:.200}")
    shape = tuple(shape)
    if dtype == "video":
        if len(shape) == 3 and isinstance(names, list | tuple) and names and names[0] in ("channel", "channels"):
            shape, names = (*shape[1:], shape[0]), [*names[1:], names[0]]
        if len(shape) != 3 or shape[2] != 3 or max(shape) > MAX_IMAGE_SIDE:
            raise ValueError(
                f"{where}[{key!r}].shape: expected (height, width, 3) up to {MAX_IMAGE_SIDE}, found {shape}"
            )
    elif dtype == "depth":
        if len(shape) != 2 or max(shape) > MAX_IMAGE_SIDE:
            raise ValueError(f"{where}[{key!r}].shape: expected (height, width) up to {MAX_IMAGE_SIDE}, found {shape}")
    elif dtype in NUMERIC_DTYPES and (not shape or prod(shape) > MAX_VECTOR_LENGTH):
        raise ValueError(f"{where}[{key!r}].shape: expected 1 to {MAX_VECTOR_LENGTH} numbers, found {shape}")
    return Feature(key, dtype, shape, names)


def format_path(template: str, **fields: object) -> str:
    """Fill a path template of `info.json`.

    Only plain fields with an integer format are honoured: `{episode_index:06d}` or `{video_key}`. Attribute and
    index look-ups, which `str.format` would follow, are refused.

    Args:
        template: the template.
        **fields: values of the fields that it may use.

    Raises:
        ValueError: the template uses anything else.
    """
    try:
        pieces = list(string.Formatter().parse(template))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{INFO_PATH}: expected a path template, found {template!r:.200}: {error}") from error
    for _, name, spec, conversion in pieces:
        if name is None:
            continue
        if name not in fields or conversion or not _FORMAT_SPEC.fullmatch(spec or ""):
            raise ValueError(f"{INFO_PATH}: expected a path template over {sorted(fields)}, found {template!r:.200}")
    try:
        return template.format(**fields)
    except ValueError as error:
        raise ValueError(f"{INFO_PATH}: expected a path template, found {template!r:.200}: {error}") from error


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """The checked content of `meta/info.json`.

    Attributes:
        version: `v3.0` or `v2.1`.
        robot_type: name of the robot, or None.
        fps: frames per second.
        total_episodes: number of episodes.
        total_frames: number of frames of all episodes.
        features: every feature by key, depth features included.
        chunk_size: files (v3.0) or episodes (v2.1) per chunk folder.
        data_path: template of the parquet files.
        video_path: template of the videos; empty where there are none.
        depth_path: template of the depth videos; empty where there are none.
    """

    version: str
    robot_type: str | None
    fps: float
    total_episodes: int
    total_frames: int
    features: dict[str, Feature]
    chunk_size: int
    data_path: str
    video_path: str
    depth_path: str

    def keys(self, dtype: str) -> list[str]:
        """Keys of the features of a dtype, such as `video` or `depth`."""
        return [key for key, feature in self.features.items() if feature.dtype == dtype]


def parse_info(info: Mapping[str, Any]) -> DatasetInfo:
    """Check the parsed `meta/info.json`.

    Raises:
        ValueError: names the field, what was expected and what was found.
    """
    version = info.get("codebase_version")
    if version not in (V30, V21):
        raise ValueError(f"{INFO_PATH}: codebase_version: expected {V30} or {V21}, found {version!r:.100}")
    fps = info.get("fps")
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps <= MAX_FPS:
        raise ValueError(f"{INFO_PATH}: fps: expected a number in (0, {MAX_FPS}], found {fps!r:.100}")
    features = _parse_features(info, "features") | _parse_features(info, "depth_features")
    for key, dtype in INDEX_FEATURES.items():
        if key not in features:
            raise ValueError(f"{INFO_PATH}: features: expected {key} ({dtype}), found {sorted(features)}")
    robot_type = info.get("robot_type")
    parsed = DatasetInfo(
        version=version,
        robot_type=robot_type if isinstance(robot_type, str) else None,
        fps=fps,
        total_episodes=_count(info, "total_episodes"),
        total_frames=_count(info, "total_frames"),
        features=features,
        chunk_size=max(1, _count(info, "chunks_size", CHUNK_SIZE)),
        data_path=_template(info, "data_path"),
        video_path=_template(info, "video_path"),
        depth_path=_template(info, "depth_path"),
    )
    for name, dtype in (("video_path", "video"), ("depth_path", "depth")):
        if parsed.keys(dtype) and not getattr(parsed, name):
            raise ValueError(f"{INFO_PATH}: {name}: expected a template for {parsed.keys(dtype)}, found none")
    return parsed


def _parse_features(info: Mapping[str, Any], name: str) -> dict[str, Feature]:
    table = info.get(name, {} if name == "depth_features" else None)
    if not isinstance(table, Mapping) or len(table) > MAX_FEATURES:
        raise ValueError(f"{INFO_PATH}: {name}: expected an object of at most {MAX_FEATURES} features")
    return {key: parse_feature(key, spec, f"{INFO_PATH}: {name}") for key, spec in table.items()}


def _count(info: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = info.get(name, default)
    if type(value) is not int or not 0 <= value < 2**40:
        raise ValueError(f"{INFO_PATH}: {name}: expected a count, found {value!r:.100}")
    return value


def _template(info: Mapping[str, Any], name: str) -> str:
    value = info.get(name)
    if value is None and name != "data_path":
        return ""
    if not isinstance(value, str) or len(value) > 500:
        raise ValueError(f"{INFO_PATH}: {name}: expected a path template, found {value!r:.100}")
    return value
