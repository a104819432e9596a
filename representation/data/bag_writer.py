"""`BagWriter`: a bag as rosbag2 writes it (MCAP file and `metadata.yaml`), of which a kill loses only the end.

The file consists of small chunks that are handed to the operating system as they fill up, so that whatever kills the
process leaves all but the last one readable (`bag_reader.py`). Index, statistics and `metadata.yaml` come at the end.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from mcap.writer import CompressionType, Writer

from representation.data.bag_messages import definition, type_hash

Compression = Literal["none", "lz4", "zstd"]
PROFILE = "ros2"
METADATA_FILE = "metadata.yaml"
METADATA_VERSION = 9  # of ROS 2 Jazzy
# A camera's picture is larger, and so always a chunk of its own.
CHUNK_BYTES = 64 * 2**10
_BUFFER_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class BagTopic:
    """A recorded topic.

    Attributes:
        name: full name, with a leading slash.
        type: message type, such as `sensor_msgs/msg/Image`.
        reliable: whether its publishers offer reliable delivery.
        latched: whether its publishers keep the last messages for late subscribers (transient local).
        depth: how many.
    """

    name: str
    type: str
    reliable: bool = True
    latched: bool = False
    depth: int = 10


class BagWriter:
    """Writes one bag. Not thread-safe.

    Args:
        folder: directory to make.
        compression: of the chunks.

    Raises:
        ValueError: the folder exists.
    """

    def __init__(self, folder: Path, compression: Compression = "lz4") -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True)
        except FileExistsError as error:
            raise ValueError(f"bag: expected a new directory, found {self.folder} there already") from error
        self.path = self.folder / f"{self.folder.name}_0.mcap"
        self._file = self.path.open("wb", buffering=_BUFFER_BYTES)
        self._writer = Writer(self._file, CHUNK_BYTES, CompressionType[compression.upper()])
        self._writer.start(PROFILE)
        self._topics: dict[str, tuple[BagTopic, int]] = {}
        self._schemas: dict[str, int] = {}
        self._counts: Counter[str] = Counter()
        self._first_ns: int | None = None
        self._last_ns = 0

    @property
    def size(self) -> int:
        """Bytes of the file so far."""
        return self._file.tell()

    def add_topic(self, topic: BagTopic) -> None:
        """Announce a topic before its first message.

        Raises:
            ValueError: unknown message type, or the topic is there already.
        """
        if topic.name in self._topics:
            raise ValueError(f"topic: expected one that is new to the bag, found {topic.name!r}")
        if topic.type not in self._schemas:
            text = definition(topic.type).encode()
            self._schemas[topic.type] = self._writer.register_schema(topic.type, "ros2msg", text)
        metadata = {
            "offered_qos_profiles": yaml.safe_dump([_qos(topic)], sort_keys=False),
            "topic_type_hash": type_hash(topic.type),
        }
        channel = self._writer.register_channel(topic.name, "cdr", self._schemas[topic.type], metadata)
        self._topics[topic.name] = (topic, channel)

    def write(self, topic: str, data: bytes, log_ns: int, publish_ns: int, sequence: int = 0) -> None:
        """Append a message.

        Args:
            topic: name of an announced topic.
            data: CDR bytes.
            log_ns: when it was received, nanoseconds.
            publish_ns: when it was sent, nanoseconds.
            sequence: number that its publisher gave it; 0 if unknown.
        """
        self._writer.add_message(self._topics[topic][1], log_ns, data, publish_ns, sequence % 2**32)
        self._counts[topic] += 1
        self._first_ns = log_ns if self._first_ns is None else min(self._first_ns, log_ns)
        self._last_ns = max(self._last_ns, log_ns)

    def flush(self) -> None:
        """Hand all full chunks to the operating system, which keeps them when the process is killed."""
        self._file.flush()

    def close(self) -> None:
        """Write index, statistics and `metadata.yaml`, and have the disk keep it all."""
        try:
            self._writer.finish()
            self._file.flush()
            os.fsync(self._file.fileno())
        finally:
            self._file.close()
        part = self.folder / f"{METADATA_FILE}.part"
        part.write_text(yaml.safe_dump({"rosbag2_bagfile_information": self._metadata()}, sort_keys=False))
        part.replace(self.folder / METADATA_FILE)

    def _metadata(self) -> dict[str, Any]:
        start = {"nanoseconds_since_epoch": self._first_ns or 0}
        duration = {"nanoseconds": self._last_ns - (self._first_ns or self._last_ns)}
        count = sum(self._counts.values())
        topics = [
            {
                "topic_metadata": {
                    "name": topic.name,
                    "type": topic.type,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": [_qos(topic)],
                    "type_description_hash": type_hash(topic.type),
                },
                "message_count": self._counts[topic.name],
            }
            for topic, _ in self._topics.values()
        ]
        return {
            "version": METADATA_VERSION,
            "storage_identifier": "mcap",
            "duration": duration,
            "starting_time": start,
            "message_count": count,
            "topics_with_message_count": topics,
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [self.path.name],
            "files": [
                {"path": self.path.name, "starting_time": start, "duration": duration, "message_count": count},
            ],
            "custom_data": None,
            "ros_distro": "jazzy",
        }


def _qos(topic: BagTopic) -> dict[str, Any]:
    endless = {"sec": 9223372036, "nsec": 854775807}
    return {
        "history": "keep_last",
        "depth": topic.depth,
        "reliability": "reliable" if topic.reliable else "best_effort",
        "durability": "transient_local" if topic.latched else "volatile",
        "deadline": endless.copy(),
        "lifespan": endless.copy(),
        "liveliness": "automatic",
        "liveliness_lease_duration": endless.copy(),
        "avoid_ros_namespace_conventions": False,
    }
