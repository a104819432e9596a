from __future__ import annotations

import shutil
from collections import namedtuple

import pytest

from ros_nodes.full_disk import MARGIN_MB, MEBIBYTE, FullDisk

Usage = namedtuple("Usage", "total used free")


def test_the_filler_takes_more_than_the_recorder_leaves_and_is_taken_away_again(tmp_path, monkeypatch):
    free = [10_000 * MEBIBYTE]
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, free[0]))
    monkeypatch.setattr("os.posix_fallocate", lambda file, begin, size: free.append(size))
    disk = FullDisk(tmp_path)
    assert disk.min_free_mb == 10_000 - MARGIN_MB
    disk.fill()
    assert 10_000 * MEBIBYTE - free[1] < disk.min_free_mb * MEBIBYTE
    disk.free()
    disk.free()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_already_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, 100 * MEBIBYTE))
    with pytest.raises(OSError, match="expected 600 MB of free disk, found 100 MB"):
        FullDisk(tmp_path)
