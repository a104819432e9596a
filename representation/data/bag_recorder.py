"""`BagRecorder`: a thread that writes what callbacks hand to it, and stops in order before the disk is full."""

from __future__ import annotations

import shutil
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from representation.data.bag_writer import BagTopic, BagWriter, Compression

CHECK_BYTES = 32 * 2**20  # of new data between two looks at the free space
SMALL_BYTES = 16 * 2**10  # smaller messages are not dropped for pictures: they get twice the memory
CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class RecorderConfig:
    """How bags are written.

    Attributes:
        compression: none, lz4 or zstd; lz4 costs little.
        min_free_mb: recording stops in order when less of the disk is free, megabytes.
        max_waiting_mb: what waits for the disk may take so much memory; beyond it pictures are lost, and counted.
    """

    compression: Compression = "lz4"
    min_free_mb: int = field(default=2000, metadata={"range": (1, 1_000_000)})
    max_waiting_mb: int = field(default=512, metadata={"range": (1, 100_000)})


@dataclass(slots=True)
class RecorderStatus:
    """How a recording stands.

    Attributes:
        messages: written so far.
        size: bytes of the file.
        dropped: messages that were lost because the disk was too slow.
        waiting: bytes that wait for the disk.
        ended: why nothing is recorded any more, `CLOSED` after `close`; empty while recording.
    """

    messages: int = 0
    size: int = 0
    dropped: int = 0
    waiting: int = 0
    ended: str = ""


def free_bytes(folder: Path) -> int:
    """Free space of the disk that holds a folder."""
    return shutil.disk_usage(folder).free


class BagRecorder:
    """Records into one bag from its own thread; all methods return at once, except `close`.

    Args:
        folder: directory of the new bag.
        config: how it is written.
        free: tells the free bytes of the disk.

    Raises:
        ValueError: the folder exists, or the disk is too full to begin.
    """

    def __init__(self, folder: Path, config: RecorderConfig, free: Callable[[Path], int] = free_bytes) -> None:
        self._writer = BagWriter(folder, config.compression)
        self._config = config
        self._free = free
        self.status = RecorderStatus()
        self._jobs: deque[tuple[int, Callable[[], None]]] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._checked_at = 0
        reason = self._disk_full()
        if reason:
            self._writer.close()
            shutil.rmtree(folder)
            raise ValueError(reason)
        self._thread = threading.Thread(target=self._run, name="bag writer", daemon=True)
        self._thread.start()

    def add_topic(self, topic: BagTopic) -> None:
        """Announce a topic; its type must be a standard one."""
        self._put(0, lambda: self._writer.add_topic(topic))

    def write(self, topic: str, data: bytes, log_ns: int, publish_ns: int, sequence: int = 0) -> None:
        """Record a message of an announced topic, see `BagWriter.write`."""

        def job() -> None:
            self._writer.write(topic, data, log_ns, publish_ns, sequence)
            self.status.messages += 1

        self._put(len(data), job)

    def close(self, limit_s: float = 30.0) -> bool:
        """Write what waits, and the end of the file; returns whether that was done in time."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def _put(self, size: int, job: Callable[[], None]) -> None:
        with self._wake:
            if self.status.ended:
                return
            limit = self._config.max_waiting_mb * 2**20 * (2 if size < SMALL_BYTES else 1)
            if self.status.waiting + size > limit:
                self.status.dropped += 1
                return
            self.status.waiting += size
            self._jobs.append((size, job))
            self._wake.notify()

    def _run(self) -> None:
        reason = CLOSED
        try:
            while True:
                with self._wake:
                    self._wake.wait_for(lambda: self._jobs or self._closing)
                    jobs, self._jobs = self._jobs, deque()
                if not jobs:
                    break
                full = self._write(jobs)
                if full:
                    reason = full
                    break
        except Exception as error:  # the thread's end must be told, whatever it was
            reason = f"writing failed: {error!r}"
        try:
            self._writer.close()
            self.status.size = self._writer.path.stat().st_size
        except (OSError, ValueError) as error:
            reason = f"{reason}; the bag has no index ({error!r}): read it as it is, or recover it"
        with self._wake:
            self.status.ended = reason
            self.status.waiting = 0
            self._jobs.clear()

    def _write(self, jobs: deque[tuple[int, Callable[[], None]]]) -> str:
        """Write some messages; returns why no more may follow."""
        for size, job in jobs:
            job()
            with self._wake:
                self.status.waiting -= size
            if self._writer.size - self._checked_at > CHECK_BYTES:
                full = self._disk_full()
                if full:
                    return full
        self._writer.flush()
        self.status.size = self._writer.size
        return self._disk_full()

    def _disk_full(self) -> str:
        self._checked_at = self._writer.size
        free, least = self._free(self._writer.folder), self._config.min_free_mb * 2**20
        if free >= least:
            return ""
        return f"disk of {self._writer.folder}: expected {least / 1e6:.0f} MB free, found {free / 1e6:.0f} MB"
