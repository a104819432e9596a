"""`BagReader`: messages of ROS 2 bags (MCAP), whole or cut off, without ROS; `recover_bag.py` makes a cut one whole.

A bag may come from a stranger or from a recorder that was killed. Sizes are checked before memory is spent. A file that
ends in the middle of a record gives every message before that; anything else that is wrong is a `ValueError`.
"""

from __future__ import annotations

import io
import struct
from collections import deque
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import lz4.frame
import zstandard
from mcap.exceptions import EndOfFile, McapError
from mcap.records import Channel, Chunk, McapRecord, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk

MAX_RECORD_BYTES = 256 * 2**20
MAX_TOPICS = 10_000
_READ_BYTES = 2**20
_AHEAD = 4  # chunks


@dataclass(frozen=True, slots=True)
class BagMessage:
    """A message of a bag.

    Attributes:
        topic: full name.
        type: such as `sensor_msgs/msg/Image`.
        data: CDR bytes.
        log_ns: when it was received, nanoseconds.
        publish_ns: when it was sent, nanoseconds.
        sequence: number that its publisher gave it; 0 if unknown.
    """

    topic: str
    type: str
    data: bytes
    log_ns: int
    publish_ns: int
    sequence: int


class BagReader:
    """Reads the messages of a bag in the order of the file.

    Args:
        path: directory of a bag, or one MCAP file.

    Attributes:
        cut: after reading: why reading ended before the file's own end; empty for a whole bag.

    Raises:
        ValueError: there is no MCAP file.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        self.cut = ""
        self.files = sorted(path.glob("*.mcap"), key=_number) if path.is_dir() else [path]
        if not self.files or not all(file.is_file() for file in self.files):
            raise ValueError(f"{path}: expected a bag directory with MCAP files, or one such file, found none")

    def messages(self, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
        """All messages, or those of some topics.

        Raises:
            ValueError: a file is no MCAP file of a ROS 2 bag, or is damaged before its end.
        """
        self.cut = ""
        for file in self.files:
            with file.open("rb", buffering=_READ_BYTES) as stream:
                yield from self._read(file, stream, topics)

    def _read(self, file: Path, stream: io.BufferedReader, topics: Collection[str] | None) -> Iterator[BagMessage]:
        schemas: dict[int, Schema] = {}
        channels: dict[int, tuple[str, str]] = {}
        size = file.stat().st_size
        try:
            for record in _records(stream, size):
                if isinstance(record, Message):
                    topic, kind = channels[record.channel_id]
                    if topics is None or topic in topics:
                        yield BagMessage(
                            topic, kind, record.data, record.log_time, record.publish_time, record.sequence
                        )
                elif isinstance(record, Channel):
                    channels[record.id] = _channel(record, schemas)
                elif isinstance(record, Schema):
                    schemas[record.id] = record
                if len(schemas) + len(channels) > MAX_TOPICS:
                    raise ValueError(f"expected at most {MAX_TOPICS} topics and types")
        except _CutError as error:
            self.cut = f"{file.name} ends in the middle of a record: {error}"
        except (McapError, ValueError, KeyError, struct.error, RuntimeError, zstandard.ZstdError) as error:
            raise ValueError(f"{file}: expected an MCAP file of a ROS 2 bag, found: {error!r:.300}") from error


class _CutError(Exception):
    """The file ends where it should go on."""


def _records(stream: io.BufferedReader, size: int) -> Iterator[McapRecord]:
    """The records of a file, those of chunks in their places; a thread reads and unpacks ahead of who uses them."""
    groups = _groups(stream, size)
    with ThreadPoolExecutor(1) as thread:
        coming = deque(thread.submit(next, groups, None) for _ in range(_AHEAD))
        while (group := coming.popleft().result()) is not None:
            coming.append(thread.submit(next, groups, None))
            yield from group


def _groups(stream: io.BufferedReader, size: int) -> Iterator[list[McapRecord]]:
    """The records of each chunk, and between chunks those that tell of messages."""
    reader = StreamReader(stream, emit_chunks=True, record_size_limit=MAX_RECORD_BYTES)
    records = iter(reader.records)
    while True:
        try:
            record = next(records)
        except StopIteration:
            return
        except (EndOfFile, struct.error, UnicodeDecodeError) as error:
            if stream.tell() >= size:
                raise _CutError(f"byte {size}") from error
            raise
        if isinstance(record, Chunk):
            yield breakup_chunk(_decompressed(record), validate_crc=True)
        elif isinstance(record, Channel | Schema | Message):
            yield [record]


def _decompressed(chunk: Chunk) -> Chunk:
    """The chunk with plain data, of which no more is unpacked than the chunk says."""
    size = chunk.uncompressed_size
    if size > MAX_RECORD_BYTES:
        raise ValueError(f"chunk: expected at most {MAX_RECORD_BYTES} bytes, found {size}")
    if chunk.compression == "lz4":
        data = lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, max_length=size + 1)
    elif chunk.compression == "zstd":
        with zstandard.ZstdDecompressor().stream_reader(chunk.data) as unpacked:
            data = unpacked.read(size + 1)
    elif not chunk.compression:
        data = chunk.data
    else:
        raise ValueError(f"chunk: expected compression lz4, zstd or none, found {chunk.compression!r:.50}")
    if len(data) != size:
        raise ValueError(f"chunk: expected {size} bytes, found {len(data)}")
    return replace(chunk, compression="", data=data)


def _channel(channel: Channel, schemas: dict[int, Schema]) -> tuple[str, str]:
    if channel.message_encoding != "cdr":
        raise ValueError(f"topic {channel.topic!r:.100}: expected encoding cdr, found {channel.message_encoding!r:.50}")
    return channel.topic, schemas[channel.schema_id].name


def _number(file: Path) -> tuple[int, str]:
    """Files of a bag end in `_<number>.mcap`, and the tenth comes after the ninth."""
    tail = file.stem.rpartition("_")[2]
    return (int(tail) if tail.isdecimal() else 0, file.name)
