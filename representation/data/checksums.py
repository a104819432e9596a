"""SHA-256 of every file of a dataset, in `meta/checksums.json`, and the check of a copy against it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from representation.data.atomic_files import write_json
from representation.data.untrusted_files import read_json, resolve_inside

CHECKSUMS_PATH = "meta/checksums.json"


def write_checksums(root: Path) -> dict[str, str]:
    """Hash every file below `root` (hidden ones excepted) into `meta/checksums.json`.

    Returns:
        Hexadecimal SHA-256 by path relative to `root`.
    """
    sums = {relative: _sha256(root / relative) for relative in _files(root)}
    write_json(root / CHECKSUMS_PATH, {"algorithm": "sha256", "files": sums})
    return sums


def verify(root: str | Path) -> int:
    """Compare a dataset with its `meta/checksums.json`.

    Args:
        root: dataset directory.

    Returns:
        The number of files that were checked.

    Raises:
        ValueError: files are altered, missing or not listed; names up to ten of each.
    """
    root = Path(root)
    listed = read_json(root, CHECKSUMS_PATH).get("files")
    if not isinstance(listed, dict):
        raise ValueError(f"{CHECKSUMS_PATH}: files: expected an object, found {type(listed).__name__}")
    present = set(_files(root))
    problems = {
        "missing": sorted(set(listed) - present),
        "not listed": sorted(present - set(listed)),
        "altered": sorted(
            name for name in present & set(listed) if _sha256(resolve_inside(root, name)) != listed[name]
        ),
    }
    found = "; ".join(f"{kind}: {', '.join(names[:10])}" for kind, names in problems.items() if names)
    if found:
        raise ValueError(f"{root}: expected the files of {CHECKSUMS_PATH}, found {found}")
    return len(present)


def _files(root: Path) -> list[str]:
    relative = (path.relative_to(root) for path in sorted(root.rglob("*")) if path.is_file())
    names = (path.as_posix() for path in relative if not any(part.startswith(".") for part in path.parts))
    return [name for name in names if name != CHECKSUMS_PATH]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
