"""`FullDisk`: fills the disk, as far as a recorder can tell, and frees it again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MEBIBYTE = 2**20
MARGIN_MB = 200


class FullDisk:
    """A file that takes the space that a recorder may use.

    The recorder is told to leave all but `MARGIN_MB` of what is free; the file is twice as large.

    Args:
        folder: where the file and the recording lie.

    Raises:
        OSError: less than three times the margin is free.
    """

    def __init__(self, folder: Path) -> None:
        free_mb = shutil.disk_usage(folder).free // MEBIBYTE
        if free_mb < 3 * MARGIN_MB:
            raise OSError(f"{folder}: expected {3 * MARGIN_MB} MB of free disk, found {free_mb} MB")
        self.min_free_mb = free_mb - MARGIN_MB
        self._path = folder / "filler"

    def fill(self) -> None:
        """Take the space."""
        with self._path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 2 * MARGIN_MB * MEBIBYTE)

    def free(self) -> None:
        """Give it back."""
        self._path.unlink(missing_ok=True)
