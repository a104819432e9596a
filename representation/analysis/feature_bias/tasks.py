"""Inputs whose binary features are independent, balanced and made of different parts: vectors, sequences, pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Kind = Literal["linear", "majority", "parity"]
Form = Literal["vector", "sequence", "image"]
OBJECT_BITS = ("shape", "texture", "colour", "place")
"""What the bits of each object of a picture say, in this order."""

SIDE = 32  # pixels of a picture's objects, each in its own column of this width
_COLOURS = np.array([[0.9, 0.2, 0.15], [0.2, 0.35, 0.95]])
_JITTER = 3  # pixels


@dataclass(frozen=True)
class FeatureSpec:
    """A binary feature of some units.

    Attributes:
        kind: `linear` is the value of the first unit, of which the other ones are copies; `majority` tells whether more
            than half of an odd number of units are on; `parity` whether an odd number of them is.
        units: which bits of the input, each of one feature only.
        given: number of another feature; where that is 0, this one is not labelled.
    """

    kind: Kind
    units: tuple[int, ...]
    given: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("linear", "majority", "parity"):
            raise ValueError(f"kind: expected linear, majority or parity, found {self.kind!r}")
        if not self.units or len(set(self.units)) != len(self.units) or min(self.units) < 0:
            raise ValueError(f"units: expected different numbers from 0, found {self.units}")
        if self.kind == "majority" and len(self.units) % 2 == 0:
            raise ValueError(f"units: expected an odd number for a majority, found {len(self.units)}")

    def label(self, bits: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Its values (N,) of bits (N, n)."""
        own = bits[:, list(self.units)]
        if self.kind == "linear":
            return own[:, 0]
        return own.sum(axis=1) * 2 > own.shape[1] if self.kind == "majority" else own.sum(axis=1) % 2 == 1


class Samples(NamedTuple):
    """Inputs and what they are asked.

    Attributes:
        inputs: (N, n) of 0 and 1; for pictures (N, 3, 32, 32 for each object), in [0, 1].
        labels: (N, J) of 0 and 1.
        labelled: (N, J) whether a feature is asked for.
        bits: (N, n) that all was made of.
    """

    inputs: Tensor
    labels: Tensor
    labelled: Tensor
    bits: NDArray[np.bool_]


@dataclass(frozen=True)
class FeatureTask:
    """Binary features of random bits.

    Attributes:
        n_inputs: bits of an input; those of no feature distract. Of pictures, four for each object, see `OBJECT_BITS`.
        features: of the labels, in their order, which in sequences is that of the output.
        prevalence: share of the inputs on which a feature is labelled, by its number; 1 where it is not named.
        seed: of all samples.
        noise: standard deviation of what is added to inputs, but sequences.
        form: of the inputs.
    """

    n_inputs: int
    features: tuple[FeatureSpec, ...]
    prevalence: Mapping[int, float] | None = None
    seed: int = 0
    noise: float = 0.0
    form: Form = "vector"

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", tuple(self.features))
        used = [unit for feature in self.features for unit in feature.units]
        if not used or len(set(used)) != len(used) or max(used) >= self.n_inputs:
            raise ValueError(f"features: expected different units of {self.n_inputs}, found {used}")
        if self.form not in ("vector", "sequence", "image") or (self.form == "sequence" and self.noise):
            raise ValueError(f"form: expected vector, sequence without noise, or image, found {self.form!r}")
        if self.form == "image" and self.n_inputs % len(OBJECT_BITS):
            raise ValueError(f"n_inputs: expected a multiple of {len(OBJECT_BITS)} for pictures, found {self.n_inputs}")
        for place, share in (self.prevalence or {}).items():
            if place not in range(len(self.features)) or not 0 < share <= 1:
                raise ValueError(f"prevalence: expected shares in (0, 1] by feature, found {place}: {share}")
        for place, feature in enumerate(self.features):
            if feature.given is not None and (feature.given == place or feature.given not in range(len(self.features))):
                raise ValueError(f"given: expected the number of another feature, found {feature.given}")

    def sample(self, n: int, stream: int = 0) -> Samples:
        """Inputs, drawn independently.

        Args:
            n: how many.
            stream: which of many independent draws.
        """
        return self._made(self._bits(n, np.random.default_rng((self.seed, 0, stream))), stream)

    def split(self, train: int, test: int) -> tuple[Samples, Samples]:
        """Inputs to train on and others to test with, none of them in both.

        Pictures of the same bits differ in where things are, so they may share bits.

        Raises:
            ValueError: there are too few inputs for that.
        """
        rng = np.random.default_rng((self.seed, 1))
        seen = self._bits(train, rng)
        if self.form == "image":
            return self._made(seen, 1), self._made(self._bits(test, rng), 2)
        known, held = {row.tobytes() for row in seen}, []
        for _ in range(50):
            held += [row for row in self._bits(test, rng) if row.tobytes() not in known]
            if len(held) >= test:
                return self._made(seen, 1), self._made(np.stack(held[:test]), 2)
        free = self.n_inputs - sum(len(f.units) - 1 for f in self.features if f.kind == "linear")
        raise ValueError(f"train: expected to leave {test} of 2^{free} inputs for the test, found {train}")

    def _bits(self, n: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        bits = rng.random((n, self.n_inputs)) < 0.5
        for feature in self.features:
            if feature.kind == "linear":
                bits[:, list(feature.units)] = bits[:, [feature.units[0]]]
        return bits

    def _made(self, bits: NDArray[np.bool_], stream: int) -> Samples:
        rng = np.random.default_rng((self.seed, 2, stream))
        labels = np.stack([feature.label(bits) for feature in self.features], axis=1)
        labelled = np.ones_like(labels)
        for place, feature in enumerate(self.features):
            labelled[:, place] = rng.random(len(bits)) < (self.prevalence or {}).get(place, 1.0)
            if feature.given is not None:
                labelled[:, place] &= labels[:, feature.given]
        inputs = draw_objects(bits, rng) if self.form == "image" else bits.astype(np.float32)
        inputs = (inputs + self.noise * rng.normal(size=inputs.shape)).astype(np.float32) if self.noise else inputs
        return Samples(torch.from_numpy(inputs), torch.from_numpy(labels).float(), torch.from_numpy(labelled), bits)


def draw_objects(bits: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float32]:
    """Pictures (N, 3, 32, 32 k) of k objects beside each other, each of four bits; places vary by a few pixels.

    Shape is a disc or a square, texture plain or striped, colour red or blue, place high or low.
    """
    count, objects = len(bits), bits.shape[1] // len(OBJECT_BITS)
    pictures = np.full((count, 3, SIDE, SIDE * objects), 0.5, np.float32)
    y, x = np.mgrid[:SIDE, :SIDE]
    for number in range(objects):
        shape, texture, colour, place = bits[:, number * 4 : number * 4 + 4].T
        jitter = rng.integers(-_JITTER, _JITTER + 1, (2, count))
        down = np.where(place, 21, 10) + jitter[0]
        dy, dx = y - down[:, None, None], x - (SIDE // 2 + jitter[1])[:, None, None]
        disc, square = dy**2 + dx**2 <= 49, np.maximum(abs(dy), abs(dx)) <= 6
        mask = np.where(shape[:, None, None], square, disc)
        dark = np.where(texture[:, None, None] & ((y // 2) % 2 == 1), 0.35, 1.0)
        paint = _COLOURS[colour.astype(int)][:, :, None, None] * dark[:, None]
        part = pictures[..., number * SIDE : (number + 1) * SIDE]
        part[:] = np.where(mask[:, None], paint, part)
    return pictures
