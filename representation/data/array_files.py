"""Read npz and npy files of numbers that an attacker may have made: sizes are checked before memory is spent."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError  # of headers that numpy cannot parse
from typing import IO

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 4 * 2**30
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_arrays(path: Path, max_bytes: int = MAX_BYTES, names: Sequence[str] | None = None) -> dict[str, NDArray]:
    """Arrays of an npz file by name; nothing is unpickled.

    Args:
        path: of the file.
        max_bytes: of all its arrays, unpacked.
        names: of those to read; None reads all. One that is not there is left out.

    Raises:
        FileNotFoundError: there is no file.
        ValueError: it is none, damaged, too large, or holds objects; names the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            size = sum(entry.file_size for entry in entries.values())
            if size > max_bytes:
                raise ValueError(f"expected at most {max_bytes} bytes, found {size}")
            found = {}
            for name in entries if names is None else [name for name in names if name in entries]:
                with archive.open(entries[name]) as file:
                    _check_header(file, entries[name].file_size, name)
                with archive.open(entries[name]) as file:
                    found[name] = np.lib.format.read_array(file, allow_pickle=False)
            return found
    except FileNotFoundError:
        raise
    except (OSError, EOFError, ValueError, RuntimeError, TokenError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: expected an npz file of numbers, found: {error}") from error


def read_array(path: Path, max_bytes: int = MAX_BYTES) -> NDArray:
    """The array of an npy file; nothing is unpickled.

    Args:
        path: of the file.
        max_bytes: of the file.

    Raises:
        FileNotFoundError: there is no file.
        ValueError: it is none, damaged, too large, or holds objects; names the file.
    """
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise ValueError(f"expected at most {max_bytes} bytes, found {size}")
        with path.open("rb") as file:
            _check_header(file, size, path.name)
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError:
        raise
    except (OSError, EOFError, ValueError, TokenError) as error:
        raise ValueError(f"{path}: expected an npy file of numbers, found: {error}") from error


def _check_header(file: IO[bytes], size: int, name: str) -> None:
    """Refuse an array of another size than its header says, for which numpy would take memory all the same."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"{name}: expected a format of version 1 or 2, found {version}")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError(f"{name}: expected numbers or text, found {dtype}")
    wanted = math.prod(shape) * dtype.itemsize
    if wanted != size - file.tell():
        raise ValueError(f"{name}: expected {wanted} bytes of {dtype} {shape}, found {size - file.tell()}")
