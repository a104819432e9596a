"""Read JSON and parquet files from a directory that may have been made by an attacker.

A dataset comes from a stranger as often as not. Every path that it names is confined to its root, every file is a
regular one, and sizes are capped before memory is spent. Nothing is ever unpickled. All failures are `ValueError`s
that name the file, what was expected and what was found.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

MAX_JSON_BYTES = 64 * 2**20
MAX_PARQUET_ROWS = 20_000_000
MAX_PARQUET_COLUMNS = 4096
MAX_PARQUET_BYTES = 4 * 2**30


def resolve_inside(root: Path, relative: str) -> Path:
    """Absolute path of a regular file below `root`.

    Args:
        root: directory that must contain the file.
        relative: path with forward slashes, as a dataset names it.

    Raises:
        ValueError: the path is absolute, climbs out of `root` (by `..` or by a symbolic link) or names no regular file.
    """
    parts = PurePosixPath(relative).parts
    if not parts or relative.startswith("/") or ".." in parts or "\\" in relative or "\0" in relative:
        raise ValueError(f"{relative!r}: expected a relative path inside the dataset, found one that leaves it")
    base = root.resolve()
    path = base.joinpath(*parts).resolve()
    if not path.is_relative_to(base):
        raise ValueError(f"{relative}: expected a file inside {root}, found a link to {path}")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ValueError(f"{relative}: expected a file in {root}, found none ({error.strerror})") from error
    if not stat.S_ISREG(mode):
        raise ValueError(f"{relative}: expected a regular file, found something else")
    return path


def _reject_constant(name: str) -> float:
    raise ValueError(f"expected finite numbers, found {name}")


def _parse_json(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: expected valid JSON, found: {error}") from error


def _read_text(root: Path, relative: str) -> str:
    path = resolve_inside(root, relative)
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise ValueError(f"{relative}: expected at most {MAX_JSON_BYTES} bytes, found {size}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{relative}: expected UTF-8 text, found {error}") from error


def read_json(root: Path, relative: str) -> dict[str, Any]:
    """Parse a JSON object.

    Args:
        root: dataset directory.
        relative: path inside it.

    Raises:
        ValueError: missing, too large, not JSON, or not an object.
    """
    value = _parse_json(_read_text(root, relative), relative)
    if not isinstance(value, dict):
        raise ValueError(f"{relative}: expected a JSON object, found {type(value).__name__}")
    return value


def read_json_lines(root: Path, relative: str) -> list[dict[str, Any]]:
    """Parse a file of one JSON object per line.

    Args:
        root: dataset directory.
        relative: path inside it.

    Raises:
        ValueError: missing, too large, or a line that is not a JSON object.
    """
    rows = []
    for number, line in enumerate(_read_text(root, relative).splitlines(), start=1):
        if line.strip():
            value = _parse_json(line, f"{relative} line {number}")
            if not isinstance(value, dict):
                raise ValueError(f"{relative} line {number}: expected a JSON object, found {type(value).__name__}")
            rows.append(value)
    return rows


def read_parquet(root: Path, relative: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read columns of a parquet file.

    Args:
        root: dataset directory.
        relative: path inside it.
        columns: names of the columns to read; None reads all.

    Raises:
        ValueError: missing, damaged or too large file, or a missing column.
    """
    path = resolve_inside(root, relative)
    try:
        with pq.ParquetFile(path) as file:
            _check_parquet_size(file.metadata, relative)
            missing = sorted(set(columns or ()) - set(file.schema_arrow.names))
            if missing:
                raise ValueError(f"{relative}: expected columns {missing}, found {file.schema_arrow.names}")
            batches, size = [], 0
            for batch in file.iter_batches(columns=list(columns) if columns is not None else None):
                size += batch.nbytes
                if size > MAX_PARQUET_BYTES:
                    raise ValueError(f"{relative}: expected at most {MAX_PARQUET_BYTES} bytes of data, found more")
                batches.append(batch)
            schema = batches[0].schema if batches else file.schema_arrow
            return pa.Table.from_batches(batches, schema=schema)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{relative}: expected a readable parquet file, found: {error}") from error


def _check_parquet_size(metadata: pq.FileMetaData, relative: str) -> None:
    if metadata.num_rows > MAX_PARQUET_ROWS:
        raise ValueError(f"{relative}: expected at most {MAX_PARQUET_ROWS} rows, found {metadata.num_rows}")
    if metadata.num_columns > MAX_PARQUET_COLUMNS:
        raise ValueError(f"{relative}: expected at most {MAX_PARQUET_COLUMNS} columns, found {metadata.num_columns}")
    size = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    if size > MAX_PARQUET_BYTES:
        raise ValueError(f"{relative}: expected at most {MAX_PARQUET_BYTES} bytes of data, found {size}")
