"""Read and write the JSON files of a checkpoint, which may come from anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SIZE_LIMIT = 64 * 2**20


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileNotFoundError: no such file.
        ValueError: larger than 64 MiB, not JSON, or not an object.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a policy's {path.name}, found no such file")
    if path.stat().st_size > _SIZE_LIMIT:
        raise ValueError(f"{path}: expected at most {_SIZE_LIMIT} bytes, found {path.stat().st_size}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
