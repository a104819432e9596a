"""Procedural textures with captions: what a small generator of looks, its CLIP and its style transfer learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from representation.generative.mmist.directions import SOURCE, TEMPLATES

KINDS = ("plain", "stripes", "checks", "dots", "brick", "wood", "marble", "concrete", "tiles", "fabric")
COLOURS = {
    "red": (0.80, 0.12, 0.10),
    "orange": (0.94, 0.52, 0.12),
    "yellow": (0.93, 0.85, 0.22),
    "green": (0.16, 0.58, 0.24),
    "blue": (0.14, 0.32, 0.82),
    "purple": (0.52, 0.18, 0.66),
    "brown": (0.45, 0.29, 0.16),
    "white": (0.93, 0.93, 0.91),
    "grey": (0.52, 0.52, 0.53),
    "black": (0.08, 0.08, 0.09),
}
LIGHTS = {"": 1.0, "dim": 0.5, "bright": 1.25, "warm": (1.2, 1.0, 0.75), "cold": (0.78, 0.98, 1.2)}
"""Factors of the channels by word."""
_SAID = {
    "dim": ("dim", "dark"),
    "bright": ("bright", "light"),
    "warm": ("warm",),
    "cold": ("cold",),
}


class Texture(NamedTuple):
    """One texture.

    Attributes:
        image: (S, S, 3) uint8.
        labels: numbers of kind, both colours and light.
        caption: what it is.
    """

    image: NDArray[np.uint8]
    labels: tuple[int, int, int, int]
    caption: str


def draw_texture(size: int, rng: np.random.Generator) -> Texture:
    """A texture (size, size, 3) of a kind, two colours and a light, in any turn and scale."""
    kind, light = int(rng.integers(len(KINDS))), int(rng.integers(len(LIGHTS)))
    first, second = (int(number) for number in rng.choice(len(COLOURS), 2, replace=False))
    share = _pattern(KINDS[kind], size, rng)[..., None]
    pair = np.array(list(COLOURS.values()))[[first, second]] + rng.normal(0, 0.04, (2, 3))
    image = (share * pair[0] + (1 - share) * pair[1]) * np.array(list(LIGHTS.values())[light])
    image = image + rng.normal(0, 0.015, image.shape)
    words = list(COLOURS)[first], list(COLOURS)[second], KINDS[kind], list(LIGHTS)[light]
    return Texture(_bytes(image), (kind, first, second, light), _caption(words, rng))


def lit(image: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], str]:
    """A picture (H, W, 3) in another light, and a word for it; the same picture and no word as often as another."""
    name = str(rng.choice(list(LIGHTS)))
    if not name:
        return image, ""
    return _bytes(image / 255 * np.array(LIGHTS[name])), str(rng.choice(_SAID[name]))


def captioned(words: str, rng: np.random.Generator) -> str:
    """A sentence with some words in it."""
    return str(rng.choice(TEMPLATES)).format(words)


def known_words(texts: Sequence[str]) -> tuple[str, ...]:
    """All words of some texts and of `TEMPLATES`, in order."""
    every = " ".join((*texts, *TEMPLATES, SOURCE)).replace("{}", " ").lower()
    return tuple(sorted(set(words_of(every))))


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without signs."""
    return "".join(letter if letter.isalnum() else " " for letter in text.lower()).split()


def _caption(words: tuple[str, str, str, str], rng: np.random.Generator) -> str:
    """A sentence about some of the properties, always about the kind or the first colour."""
    first, second, kind, light = words
    colours = {"plain": (first,)}.get(kind, (first, f"{first} and {second}", ""))
    said = str(rng.choice(colours))
    parts = [str(rng.choice(_SAID[light])) if light and rng.random() < 0.6 else "", said]
    parts.append(kind if not said or rng.random() < 0.85 else str(rng.choice(("texture", "look"))))
    return captioned(" ".join(part for part in parts if part), rng)


def _bytes(image: NDArray) -> NDArray[np.uint8]:
    return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)


def _noise(size: int, cells: Sequence[int], rng: np.random.Generator) -> NDArray:
    """Layers of smooth noise in [0, 1], one above the other."""
    layers = [
        cv2.resize(rng.uniform(size=(count, count)), (size, size), interpolation=cv2.INTER_LINEAR) / 2**level
        for level, count in enumerate(cells)
    ]
    total = np.sum(layers, axis=0)
    return (total - total.min()) / max(float(np.ptp(total)), 1e-6)


def _pattern(kind: str, size: int, rng: np.random.Generator) -> NDArray:
    """Share of the first colour (size, size)."""
    row, column = np.mgrid[:size, :size] / size
    turn = rng.uniform(-np.pi, np.pi) if kind not in ("brick", "tiles") else rng.uniform(-0.2, 0.2)
    x, y = np.cos(turn) * column + np.sin(turn) * row, np.cos(turn) * row - np.sin(turn) * column
    x, y, scale = x + rng.uniform(), y + rng.uniform(), rng.uniform(3, 8)
    if kind == "plain":
        return np.full((size, size), 0.97) - 0.1 * rng.uniform() * (column - 0.5)
    if kind == "stripes":
        return ((x * scale) % 1 < rng.uniform(0.4, 0.6)).astype(float)
    if kind == "checks":
        return (np.floor(x * scale) + np.floor(y * scale)) % 2
    if kind == "dots":
        return (np.hypot((x * scale) % 1 - 0.5, (y * scale) % 1 - 0.5) > rng.uniform(0.25, 0.38)).astype(float)
    if kind == "brick":
        line = np.floor(y * scale)
        along = (x * scale / 2 + 0.5 * (line % 2)) % 1
        return 1 - ((along < 0.07) | ((y * scale) % 1 < 0.13)).astype(float)
    if kind == "wood":
        bent = x + 0.15 * _noise(size, (3, 6), rng)
        return 0.5 + 0.5 * np.sin(2 * np.pi * scale * 1.3 * bent + 2 * _noise(size, (8, 24), rng))
    if kind == "marble":
        return np.abs(np.sin(np.pi * (scale / 2 * x + 3 * _noise(size, (3, 6, 12), rng)))) ** 0.7
    if kind == "concrete":
        return 0.3 + 0.7 * _noise(size, (4, 8, 16, 32, 64), rng)
    if kind == "tiles":
        return 1 - (((x * scale) % 1 < 0.1) | ((y * scale) % 1 < 0.1)).astype(float)
    fine = 3 * scale
    return 0.5 + 0.25 * np.sin(2 * np.pi * fine * x) + 0.25 * np.sin(2 * np.pi * fine * y)
