"""`Frame`: one message of the policy protocol as bytes.

    4 bytes              length n of the header, little-endian
    n bytes              header: a msgpack map of `kind`, `request`, `fields` and `arrays`, a list of [dtype, shape]
    the rest             the arrays' elements, one array after the other, row-major and little-endian

The header is small and the arrays are not parsed at all, so that what a message costs to read follows from its length:
msgpack alone would make a list of 56 bytes from every byte of a message of empty lists.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgpack
import numpy as np
from numpy.typing import NDArray

MAX_MESSAGE_BYTES = 64 * 2**20
MAX_HEADER_BYTES = 64 * 2**10
MAX_ARRAYS = 1024
MAX_RANK = 3
MAX_SIDE = 8 * 2**20  # elements along an axis
MAX_ITEMS = 1024  # entries of one list or map of the header
DTYPES = ("|u1", "<f4", "<f8")
_LENGTH = struct.Struct("<I")
_KEYS = {"kind", "request", "fields", "arrays"}

Value = TypeVar("Value", bool, int, float, str, list, dict)


@dataclass(frozen=True, slots=True)
class Frame:
    """One message.

    Attributes:
        kind: what it is: see `messages.py`.
        request: number of the request that it is, or answers.
        fields: small values by name.
        arrays: the large ones, in the order that the kind says.
    """

    kind: str
    request: int
    fields: Mapping[str, Any] = field(default_factory=dict)
    arrays: Sequence[NDArray] = ()


def encode(frame: Frame) -> bytes:
    """Bytes of a frame.

    Raises:
        ValueError: larger than the caps allow, or an array of another dtype than `DTYPES`; says which.
    """
    arrays = [np.ascontiguousarray(array) for array in frame.arrays]
    for array in arrays:
        if array.dtype.str not in DTYPES:
            raise ValueError(f"array: expected one of {DTYPES}, found {array.dtype.str}")
    header = msgpack.packb(
        {
            "kind": frame.kind,
            "request": frame.request,
            "fields": dict(frame.fields),
            "arrays": [[array.dtype.str, list(array.shape)] for array in arrays],
        }
    )
    if len(header) > MAX_HEADER_BYTES:
        raise ValueError(f"message header: expected at most {MAX_HEADER_BYTES} bytes, found {len(header)}")
    size = _LENGTH.size + len(header) + sum(array.nbytes for array in arrays)
    if size > MAX_MESSAGE_BYTES:
        raise ValueError(f"message: expected at most {MAX_MESSAGE_BYTES} bytes, found {size}")
    return b"".join([_LENGTH.pack(len(header)), header, *(array.data.cast("B") for array in arrays if array.size)])


def decode(data: object) -> Frame:
    """Read a frame from an untrusted peer; its arrays are copies that may be written to.

    Raises:
        ValueError: not a frame within the caps; says what was expected and found.
    """
    if not isinstance(data, bytes):
        raise ValueError(f"message: expected bytes, found {type(data).__name__}")
    if not _LENGTH.size <= len(data) <= MAX_MESSAGE_BYTES:
        raise ValueError(f"message: expected {_LENGTH.size} to {MAX_MESSAGE_BYTES} bytes, found {len(data)}")
    (length,) = _LENGTH.unpack_from(data)
    begin = _LENGTH.size + length
    if length > MAX_HEADER_BYTES or begin > len(data):
        raise ValueError(f"message header: expected at most {MAX_HEADER_BYTES} bytes of {len(data)}, found {length}")
    header = _unpacked(data[_LENGTH.size : begin])
    kind, request = take(header, "kind", str), take(header, "request", int)
    fields, layouts = take(header, "fields", dict), take(header, "arrays", list)
    if set(header) != _KEYS:
        raise ValueError(f"message header: expected {sorted(_KEYS)}, found {sorted(map(str, header))}")
    if request < 0:
        raise ValueError(f"request: expected >= 0, found {request}")
    if len(layouts) > MAX_ARRAYS:
        raise ValueError(f"arrays: expected at most {MAX_ARRAYS}, found {len(layouts)}")
    return Frame(kind, request, fields, _arrays(data, begin, layouts))


def take(fields: Mapping[str, Any], name: str, kind: type[Value]) -> Value:
    """A value of exactly this type from a map of an untrusted peer.

    Raises:
        ValueError: it is missing, of another type, or a number that is not finite; names it.
    """
    value = fields.get(name)
    if type(value) is not kind:
        raise ValueError(f"{name}: expected {kind.__name__}, found {type(value).__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number, found {value}")
    return value


def _unpacked(data: bytes) -> dict[str, Any]:
    try:
        # Without these limits a nest of lists, each claiming the longest length, would be allocated in full.
        header = msgpack.unpackb(data, max_array_len=MAX_ITEMS, max_map_len=MAX_ITEMS)
    except ValueError as error:
        raise ValueError(f"message header: expected msgpack: {error or type(error).__name__}") from error
    if type(header) is not dict:
        raise ValueError(f"message header: expected a map, found {type(header).__name__}")
    return header


def _arrays(data: bytes, begin: int, layouts: list[Any]) -> list[NDArray]:
    """Cut the arrays of [dtype, shape] out of `data` from `begin` on; they must fill it."""
    arrays = []
    for layout in layouts:
        dtype, shape = _layout(layout)
        count = math.prod(shape)
        end = begin + count * dtype.itemsize
        if end > len(data):
            raise ValueError(f"array: expected {shape} of {dtype.str} within {len(data)} bytes, found an end at {end}")
        # A copy, because an array that lies unaligned in the message is slow, and refused by torch.
        arrays.append(
            np.frombuffer(data, dtype, count, begin).reshape(shape).copy() if count else np.empty(shape, dtype)
        )
        begin = end
    if begin != len(data):
        raise ValueError(f"message: expected {begin} bytes, found {len(data)}")
    return arrays


def _layout(layout: object) -> tuple[np.dtype, tuple[int, ...]]:
    if type(layout) is not list or len(layout) != 2 or type(layout[1]) is not list:
        raise ValueError("array: expected [dtype, shape]")
    dtype, shape = layout
    if dtype not in DTYPES:
        raise ValueError(f"array: expected one of {DTYPES}, found {dtype!r:.40}")
    if len(shape) > MAX_RANK or not all(type(side) is int and 0 <= side <= MAX_SIDE for side in shape):
        raise ValueError(f"array: expected at most {MAX_RANK} sides of 0 to {MAX_SIDE}, found {shape!r:.80}")
    return np.dtype(dtype), tuple(shape)
