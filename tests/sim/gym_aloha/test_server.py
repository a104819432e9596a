from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest

from sim.gym_aloha.server import LARGEST_MESSAGE, Message, Server, read_message, write_message


def sent(message: Message) -> bytes:
    stream = io.BytesIO()
    write_message(stream, message)
    return stream.getvalue()


def test_a_message_comes_back_as_it_was_sent() -> None:
    numbers = np.arange(6.0).reshape(2, 3)
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    stream = io.BytesIO(sent(Message("a", {"seed": 2**32 - 1}, {"numbers": numbers, "picture": picture})) * 2)
    for _ in range(2):
        found = read_message(stream)
        assert (found.kind, found.values) == ("a", {"seed": 2**32 - 1})
        assert found.arrays["numbers"].dtype == np.float64
        np.testing.assert_array_equal(found.arrays["numbers"], numbers)
        np.testing.assert_array_equal(found.arrays["picture"], picture)
    with pytest.raises(EOFError, match="expected 8 bytes, found the end after 0"):
        read_message(stream)


def header(**entries: Any) -> bytes:
    import json

    text = json.dumps({"kind": "a", "values": {}, "arrays": [], **entries}).encode()
    return struct.pack("<II", len(text), 0) + text


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (struct.pack("<II", LARGEST_MESSAGE, 1), ValueError, f"at most {LARGEST_MESSAGE} bytes"),
        (sent(Message("a", {}, {"numbers": np.zeros(3)}))[:-1], EOFError, "expected 24 bytes, found the end after 23"),
        (header(arrays=[["a", "|O", [1]]]), ValueError, "array 'a': expected one of .*found '|O'"),
        (header(arrays=[["a", "<f8", [-1]]]), ValueError, r"of shape \[-1\]"),
        (header(arrays=[["a", "<f8", [2]]]), ValueError, "buffer"),
    ],
)
def test_what_is_no_message_is_refused(data: bytes, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        read_message(io.BytesIO(data))


def test_requests_are_checked() -> None:
    with pytest.raises(ValueError, match="'look': expected a reset first"):
        Server().answer(Message("look"))
