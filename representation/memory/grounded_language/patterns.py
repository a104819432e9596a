"""Messages as keys that are searched by: `3-7-*-*` is every message that begins with 3 and 7."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Pattern = tuple[int | None, ...]


def format_message(symbols: Sequence[int]) -> str:
    """A message as it is written: `3-7-0-12`."""
    return "-".join(map(str, symbols))


def parse_pattern(text: str, vocab_size: int, max_len: int) -> Pattern:
    """The symbols of a pattern; None where any will do.

    Raises:
        ValueError: another length, or no symbols.
    """
    parts = text.split("-")
    symbols = tuple(None if part == "*" else int(part) if part.isdecimal() else -1 for part in parts)
    if len(parts) != max_len or any(symbol is not None and not 0 <= symbol < vocab_size for symbol in symbols):
        raise ValueError(f"pattern: expected {max_len} of 0 to {vocab_size - 1} or *, joined by -, found {text!r:.100}")
    return symbols


def matches(ids: ArrayLike, pattern: Pattern) -> NDArray[np.bool_]:
    """Which of messages (N, L) fit."""
    messages = np.asarray(ids)
    fits = [messages[:, place] == symbol for place, symbol in enumerate(pattern) if symbol is not None]
    return np.logical_and.reduce(fits) if fits else np.ones(len(messages), bool)


def pattern_vector(pattern: Pattern, vocab_size: int) -> NDArray[np.float32]:
    """The vector (L V,) by which a memory of message vectors is searched.

    The cosine with a message is the number of symbols that fit, by the root of L times those asked for: `least_cosine`
    where all do.

    Raises:
        ValueError: nothing is asked for.
    """
    vector = np.zeros((len(pattern), vocab_size), np.float32)
    for place, symbol in enumerate(pattern):
        if symbol is not None:
            vector[place, symbol] = 1.0
    if not vector.any():
        raise ValueError("pattern: expected at least one symbol, found none")
    return vector.ravel()


def least_cosine(pattern: Pattern) -> float:
    """Cosine of a pattern's vector with a message that fits."""
    asked = sum(symbol is not None for symbol in pattern)
    return (asked / len(pattern)) ** 0.5
