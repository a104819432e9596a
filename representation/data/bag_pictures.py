"""`bag_pictures`: what one camera saw in recordings of ROS 2 (MCAP bags), with the episode and the sentence of each.

A bag may come from a stranger: what it says of its types is not used, sizes are checked before memory is spent, and a
malformed message ends the reading and is named by its topic. A bag is read twice: marks are known before pictures.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from representation.data.bag_messages import decode
from representation.data.bag_reader import BagMessage, BagReader
from representation.data.camera_messages import (
    depth_from_image,
    intrinsics_from_camera_info,
    rgb_from_image,
    seconds,
)
from representation.data.episode_marks import MARKS_TOPIC, EpisodeMark

IMAGE, CAMERA_INFO, STRING = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo", "std_msgs/msg/String"
INSTRUCTION_TOPIC = "instruction"
DEPTH_ENCODINGS = ("16UC1", "32FC1")
MOST_WAITING = 16  # colour or depth pictures of one stamp that wait for each other


@dataclass(frozen=True, slots=True)
class BagPicture:
    """A picture of a recording.

    Attributes:
        episode: number, over all bags.
        stamp: seconds.
        text: what was to be done; empty if the recording does not tell.
        rgb: (H, W, 3) uint8.
        depth: (H, W) metres, NaN where unknown; None if it was not asked for.
        intrinsics: (3, 3) in pixels, of the depth; likewise.
    """

    episode: int
    stamp: float
    text: str
    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32] | None = None
    intrinsics: NDArray[np.float64] | None = None


def bags_in(path: Path) -> list[Path]:
    """The bags that a path names: an MCAP file, a bag's directory, or a directory of bags; none if it is none."""
    if path.is_file():
        return [path] if path.suffix == ".mcap" else []
    if any(path.glob("*.mcap")):
        return [path]
    return sorted({file.parent for file in path.glob("*/*.mcap")})


def bag_pictures(path: Path, camera: str = "", with_depth: bool = False) -> Iterator[BagPicture]:
    """Pictures of one camera in the order of their bags.

    Where episodes are marked, those between a start and an end that does not discard them; else each bag is one
    episode, and its sentence is the newest one on `instruction`.

    Args:
        path: see `bags_in`.
        camera: a part of its topic's name, or the whole of it; the first colour topic if empty.
        with_depth: whether pictures must have depth of the same stamp, and intrinsics; others are left out.

    Raises:
        ValueError: no bag, a damaged one, no such camera, or a malformed message; names it.
    """
    first = 0
    for bag in bags_in(path):
        contents = _contents(bag)
        topics = _topics(bag, contents, camera, with_depth)
        last = first - 1
        for picture in _pictures(bag, contents, topics, first):
            last = picture.episode
            yield picture
        first = last + 1


@dataclass(frozen=True, slots=True)
class _Topics:
    color: str
    depth: str = ""
    info: str = ""


@dataclass(slots=True)
class _Contents:
    """What the first reading of a bag finds: image topics with their encodings, topics of other types, and marks."""

    encodings: dict[str, str] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    marks: list[EpisodeMark] = field(default_factory=list)


def _contents(bag: Path) -> _Contents:
    reader, found = BagReader(bag), _Contents()
    for message in reader.messages():
        found.types.setdefault(message.topic, message.type)
        if message.type == IMAGE and message.topic not in found.encodings:
            found.encodings[message.topic] = _decoded(bag, message).encoding
        elif _is_mark(message):
            found.marks.append(_mark(bag, message))
    if reader.cut:
        warnings.warn(f"{bag}: {reader.cut}; what stands before that is used", stacklevel=4)
    return found


def _topics(bag: Path, contents: _Contents, camera: str, with_depth: bool) -> _Topics:
    named = sorted(topic for topic in contents.encodings if not camera or camera in (topic, *topic.split("/")))
    depths = [topic for topic in named if contents.encodings[topic] in DEPTH_ENCODINGS]
    colors = [topic for topic in named if topic not in depths]
    if not colors:
        known = {topic: encoding for topic, encoding in sorted(contents.encodings.items())}
        raise ValueError(f"{bag}: camera: expected a colour topic of {camera or 'any'}, found {known}")
    if not with_depth:
        return _Topics(colors[0])
    # The depth of a camera shares the most parts of its name with the colour.
    parts = colors[0].split("/")
    near = sorted(depths, key=lambda topic: len(set(topic.split("/")) & set(parts)), reverse=True)
    info = colors[0].rpartition("/")[0] + "/camera_info"
    if not near or contents.types.get(info) != CAMERA_INFO:
        raise ValueError(f"{bag}: expected depth and {info} to make clouds of, found {sorted(contents.types)}")
    return _Topics(colors[0], near[0], info)


def _pictures(bag: Path, contents: _Contents, topics: _Topics, first: int) -> Iterator[BagPicture]:
    marked = bool(contents.marks)
    episode, text, running, marks = first, "", not marked, 0
    joined = _Joined(with_depth=bool(topics.depth))
    for message in BagReader(bag).messages():
        if _is_mark(message):
            mark = contents.marks[marks]
            marks += 1
            if mark.event == "start":
                is_discarded = marks < len(contents.marks) and contents.marks[marks].event == "discard"
                episode += running
                running, text = not is_discarded, mark.instruction
            else:
                episode += running
                running = False
        elif message.type == STRING and not marked and _last_part(message.topic) == INSTRUCTION_TOPIC:
            text = _decoded(bag, message).data
        elif running and message.topic in (topics.color, topics.depth, topics.info):
            content = _decoded(bag, message)
            try:
                yield from joined.add(message, content, topics, episode, text)
            except (ValueError, AttributeError, TypeError) as error:  # the last two: another type than before
                raise ValueError(f"{bag}: {message.topic}: {error}") from error


class _Joined:
    """Joins colour with depth of the same stamp, where depth is asked for."""

    def __init__(self, with_depth: bool) -> None:
        self._with_depth = with_depth
        self._colors: dict[float, BagPicture] = {}
        self._depths: dict[float, NDArray[np.float32]] = {}
        self._lens: tuple[NDArray[np.float64], tuple[int, int]] | None = None

    def add(self, message: BagMessage, content: Any, topics: _Topics, episode: int, text: str) -> Iterator[BagPicture]:
        """Take a message; the picture that it completes, if it does."""
        if message.topic == topics.info:
            self._lens = intrinsics_from_camera_info(content)
            return
        stamp = seconds(content.header.stamp)
        if message.topic == topics.color:
            picture = BagPicture(episode, stamp, text, rgb_from_image(content))
            if not self._with_depth:
                yield picture
                return
            self._colors[stamp] = picture
        else:
            self._depths[stamp] = depth_from_image(content)
        if self._lens is not None and stamp in self._colors and stamp in self._depths:
            intrinsics, size = self._lens
            color, depth = self._colors.pop(stamp), self._depths.pop(stamp)
            if depth.shape != size:
                raise ValueError(f"depth: expected {size} as in camera_info, found {depth.shape}")
            yield BagPicture(color.episode, stamp, color.text, color.rgb, depth, intrinsics)
        for waiting in (self._colors, self._depths):
            while len(waiting) > MOST_WAITING:
                del waiting[next(iter(waiting))]


def _is_mark(message: BagMessage) -> bool:
    return message.type == STRING and _last_part(message.topic) == MARKS_TOPIC


def _mark(bag: Path, message: BagMessage) -> EpisodeMark:
    try:
        return EpisodeMark.from_json(_decoded(bag, message).data)
    except ValueError as error:
        raise ValueError(f"{bag}: {message.topic}: {error}") from error


def _decoded(bag: Path, message: BagMessage) -> Any:
    try:
        return decode(message.data, message.type)
    except ValueError as error:
        raise ValueError(f"{bag}: {message.topic}: {error}") from error


def _last_part(topic: str) -> str:
    return topic.rpartition("/")[2]
