"""Messages of ROS 2 bags without ROS: definitions of the standard types, and CDR bytes to objects with their fields.

The definitions are those of ROS 2 Jazzy that come with the library `rosbags`; what a bag says of its types is not
trusted, because it would become code.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore


@cache
def _types() -> Typestore:
    return get_typestore(Stores.ROS2_JAZZY)


def check_type(name: str) -> None:
    """Refuse a type that is not standard.

    Raises:
        ValueError: no such type in ROS 2 Jazzy's standard packages.
    """
    if name not in _types().fielddefs:
        raise ValueError(f"message type: expected one of ROS 2 Jazzy's standard packages, found {name!r:.100}")


@cache
def definition(name: str) -> str:
    """Text of a message definition with those it uses, in the schema encoding `ros2msg`; `name` as `pkg/msg/Type`."""
    check_type(name)
    return _types().generate_msgdef(name, ros_version=2)[0]


@cache
def type_hash(name: str) -> str:
    """RIHS01 hash of a message type (REP 2016)."""
    check_type(name)
    return _types().hash_rihs01(name)


def decode(data: bytes, name: str) -> Any:
    """A message from its CDR bytes; numbers in sequences are read-only NumPy arrays that share them.

    Raises:
        ValueError: unknown type, or the bytes are not such a message.
    """
    check_type(name)
    try:
        return _types().deserialize_cdr(data, name)
    except SerdeError as error:
        raise ValueError(f"{name}: expected a serialised message, found {len(data)} bytes: {error}") from error


def encode(message: Any, name: str) -> bytes:
    """CDR bytes of an object with the fields of the type."""
    check_type(name)
    return bytes(_types().serialize_cdr(message, name))


def make(name: str, /, **fields: Any) -> Any:
    """A message of a type from all its fields."""
    check_type(name)
    return _types().types[name](**fields)
