"""Vectors as text, for messages of JSON: base64 of their float32 numbers, the lowest byte first."""

from __future__ import annotations

import base64
import binascii

import numpy as np
from numpy.typing import NDArray

MAX_LENGTH = 1_000_000  # characters


def to_text(vector: NDArray[np.float32]) -> str:
    """The text of a vector (D,)."""
    return base64.b64encode(np.ascontiguousarray(vector, dtype="<f4").tobytes()).decode()


def from_text(text: object) -> NDArray[np.float32]:
    """The vector (D,) of a text.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(text, str) or len(text) > MAX_LENGTH:
        raise ValueError(f"vector: expected base64 of at most {MAX_LENGTH} characters, found {text!r:.100}")
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"vector: expected base64 of float32 numbers, found {text!r:.100}") from error
