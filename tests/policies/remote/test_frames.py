from __future__ import annotations

import struct
import tracemalloc
from contextlib import suppress

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.remote import frames
from policies.remote.frames import Frame, decode, encode, take
from tests.policies.remote.samples import damaged, equal

ARRAYS = [
    np.arange(12, dtype=np.uint8).reshape(2, 2, 3),
    np.array([[np.nan, -0.0, np.inf]], np.float32),
    np.array([1e-308, np.pi]),
    np.zeros((0, 7)),
    np.arange(6.0).reshape(2, 3).T,
]
MESSAGE = encode(Frame("act", 7, {"stamp": 0.1, "names": ["a", "b"]}, ARRAYS))


def message(header: object, payload: bytes = b"") -> bytes:
    packed = msgpack.packb(header)
    return struct.pack("<I", len(packed)) + packed + payload


def header(**changes: object) -> dict:
    return {"kind": "act", "request": 1, "fields": {}, "arrays": []} | changes


def peak_of_reading(data: bytes) -> int:
    """Largest memory, in bytes, that reading a message took."""
    tracemalloc.start()
    try:
        decode(data)
    except ValueError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def test_every_bit_of_a_frame_comes_back_and_arrays_may_be_written_to():
    frame = decode(MESSAGE)
    assert (frame.kind, frame.request, frame.fields) == ("act", 7, {"stamp": 0.1, "names": ["a", "b"]})
    for sent, found in zip(ARRAYS, frame.arrays, strict=True):
        assert equal(np.ascontiguousarray(sent), found)
        assert found.flags.writeable
        assert found.flags.aligned


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("text", "expected bytes, found str"),
        (b"", "found 0"),
        (struct.pack("<I", 100) + b"x", "header: expected at most"),
        (
            struct.pack("<I", frames.MAX_HEADER_BYTES + 1) + bytes(frames.MAX_HEADER_BYTES + 1),
            "header: expected at most",
        ),
        (struct.pack("<I", 1) + b"\xc1", "expected msgpack"),
        (message([]), "expected a map, found list"),
        (message({1: 2}), "expected msgpack"),
        (message(header(kind=1)), "kind: expected str, found int"),
        (message(header(request=True)), "request: expected int, found bool"),
        (message(header(request=-1)), "request: expected >= 0, found -1"),
        (message(header(fields=[])), "fields: expected dict, found list"),
        (message(header(more=1)), "found .*more"),
        (message(header(arrays=[["|O", [1]]]), b"x" * 8), "expected one of"),
        (message(header(arrays=[[">f8", [1]]]), b"x" * 8), "expected one of"),
        (message(header(arrays=[[["<f8"], [1]]]), b"x" * 8), "expected one of"),
        (message(header(arrays=[["<f8", [-1]]]), b"x" * 8), "sides of 0 to"),
        (message(header(arrays=[["<f8", [1.0]]]), b"x" * 8), "sides of 0 to"),
        (message(header(arrays=[["<f8", [1, 1, 1, 1]]]), b"x" * 8), "at most 3 sides"),
        (message(header(arrays=[["<f8", [frames.MAX_SIDE] * 3]]), b"x" * 8), "found an end at"),
        (message(header(arrays=[["<f8", [1]]]), b"x" * 7), "found an end at"),
        (message(header(arrays=[["<f8", [1]]]), b"x" * 9), "expected .* bytes, found"),
        (message(header(arrays=[["<f8"]])), "expected .dtype, shape."),
        (message(header(arrays=[["|u1", [0]]] * 1025)), "expected msgpack"),
    ],
)
def test_what_is_no_frame_is_refused_with_what_was_expected(data, words):
    with pytest.raises(ValueError, match=words):
        decode(data)


def test_too_large_a_message_is_neither_read_nor_written(monkeypatch):
    monkeypatch.setattr(frames, "MAX_MESSAGE_BYTES", len(MESSAGE) - 1)
    with pytest.raises(ValueError, match="message: expected 4 to"):
        decode(MESSAGE)
    with pytest.raises(ValueError, match="message: expected at most"):
        encode(Frame("act", 7, {"stamp": 0.1, "names": ["a", "b"]}, ARRAYS))
    monkeypatch.undo()
    with pytest.raises(ValueError, match="message header: expected at most"):
        encode(Frame("act", 1, {"text": "x" * frames.MAX_HEADER_BYTES}))
    with pytest.raises(ValueError, match="array: expected one of"):
        encode(Frame("act", 1, {}, [np.zeros(3, np.int64)]))


@pytest.mark.parametrize(
    "bomb",
    [
        b"\xdd\x00\x00\xff\xff" * 13_000,  # lists in lists, each claiming 65535 entries
        b"\xdd\xff\xff\xff\xff" * 13_000,
        b"\x91" * 65_000,
        b"\xdf\x00\x00\xff\xff" * 13_000,
        b"\xdc\x04\x00" + b"\x90" * 65_000,
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
    ],
)
def test_a_bomb_in_the_header_takes_no_memory(bomb):
    assert peak_of_reading(struct.pack("<I", len(bomb)) + bomb) < 64 * frames.MAX_HEADER_BYTES


def test_a_short_message_with_large_arrays_takes_no_memory():
    claims = [["<f8", [frames.MAX_SIDE, frames.MAX_SIDE, 1]]] * 1000
    assert peak_of_reading(message(header(arrays=claims))) < 64 * frames.MAX_HEADER_BYTES


def test_damaged_frames_are_read_or_refused_but_nothing_else_and_take_little_memory():
    for data in damaged(MESSAGE, 3000):
        assert peak_of_reading(data) < 64 * frames.MAX_HEADER_BYTES


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(data):
    with pytest.raises(ValueError, match="expected"):
        decode(data)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63)
        | st.floats()
        | st.text(max_size=5)
        | st.binary(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=10,
    )
)
def test_fields_of_any_type_in_any_place_are_read_or_refused(value):
    for place in header():
        with suppress(ValueError):
            assert isinstance(decode(message(header(**{place: value}))), Frame)


@pytest.mark.parametrize(
    ("value", "kind", "found"),
    [
        (1, float, "int"),
        (1.0, int, "float"),
        (True, int, "bool"),
        (None, str, "NoneType"),
        (float("nan"), float, "nan"),
    ],
)
def test_values_are_of_exactly_their_type_and_finite(value, kind, found):
    with pytest.raises(ValueError, match=rf"here: expected .*, found {found}"):
        take({"here": value}, "here", kind)
