"""What a collection was begun with, in `meta/collection.json` of its dataset: a resume goes on with the same.

Readers of the LeRobot format pass over the file.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from representation.data.atomic_files import write_json
from representation.data.untrusted_files import read_json

COLLECTION_PATH = "meta/collection.json"


def begin_collection(root: Path, settings: Mapping[str, Any]) -> None:
    """Store the settings (JSON values, groups of them as mappings) that a dataset at `root` is begun with."""
    write_json(root / COLLECTION_PATH, settings)


def check_resumed_settings(root: Path, settings: Mapping[str, Any]) -> None:
    """Check that a collection goes on with what it was begun with.

    What a dataset without the file was begun with is not known: its episodes cannot be made again, so it goes on with a
    warning, and still without the file, as nobody knows what would be true of it.

    Raises:
        ValueError: other settings, or a file that cannot be read; names each setting, the expected and the found.
    """
    if not (root / COLLECTION_PATH).exists():
        warnings.warn(
            f"{root}: no {COLLECTION_PATH} tells what it was begun with; make sure that these arguments are the same",
            stacklevel=2,
        )
        return
    begun, now = _flat(read_json(root, COLLECTION_PATH)), _flat(json.loads(json.dumps(settings)))
    others = [
        f"{name}: expected {begun.get(name, 'nothing')!r}, found {now.get(name, 'nothing')!r}"
        for name in sorted(begun | now)
        if begun.get(name, "nothing") != now.get(name, "nothing")
    ]
    if others:
        raise ValueError(
            f"{root}: expected the arguments that the collection was begun with ({'; '.join(others)}); "
            "take them, or another --output"
        )


def _flat(settings: Mapping[str, Any], group: str = "") -> dict[str, Any]:
    """Settings by dotted name, as on the command line."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{group}{name}.") if isinstance(value, dict) else {f"{group}{name}": value}
    return flat
