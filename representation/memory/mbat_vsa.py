"""MBAT: any JSON value as one vector, such that values that are alike have vectors that are alike. Nothing is trained.

Source: Orthogonal Matrices for MBAT Vector Symbolic Architectures, and a "Soft" VSA Representation for JSON, S. I.
Gallant, 2022 (arXiv 2202.04771). Symbols are random unit vectors; a set is a sum (bundle); a value belongs to a key
when it is multiplied by the random orthogonal matrix of the key (bind). Orthogonal matrices keep lengths and cosines
at any depth, and do not commute, so that `a.b` and `b.a` differ. All that is random comes from digests of the symbols:
any two processes have the same vectors without a codebook.

`MBAT` binds and bundles, `JSONEncoder` makes vectors of JSON and asks them for their parts, `CleanUp` names what
comes back, `VectorIndex` finds documents. `python -m representation.memory.mbat_vsa --output DIR` writes an encoder
that the registry loads.

Our choices: digests are 64-bit BLAKE2b; numbers are random Fourier features of the value and of its logarithm; arrays
are bound by a matrix of their own, so that `[x]` is not `x`; strings may be bags of words; each level is brought to
unit length, which makes one more field shrink its neighbours. "gaussian" is the plain random matrix that the paper
replaces.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import tyro
from numpy.typing import NDArray
from scipy.linalg import hadamard as hadamard_matrix
from scipy.special import ndtri

from representation.checkpoint import read_config, save_config
from representation.interface import Modality

SYSTEM = "mbat_vsa"
Binding = Literal["dense", "hadamard", "signed_permutation", "gaussian"]
Strings = Literal["atoms", "words"]
Arrays = Literal["ordered", "set"]
Normalise = Literal["level", "none"]
MAX_DEPTH = 64
MATRICES_KEPT = {"dense": 64, "gaussian": 64, "hadamard": 4096, "signed_permutation": 4096}
_ARRAY, _NEXT = "[]", "[next]"


class MBAT:
    """Atoms, bundles and bindings of one space.

    Args:
        dim: numbers D of a vector.
        seed: of the space; vectors of different seeds have nothing to do with each other.
        binding: kind of the matrices. "signed_permutation" and "hadamard" (two rounds of random signs and a Hadamard
            rotation; D a power of two) need no D x D numbers.

    Raises:
        ValueError: no such binding, or no such D for it.
    """

    def __init__(self, dim: int = 2048, seed: int = 0, binding: Binding = "signed_permutation") -> None:
        if binding not in get_args(Binding):
            raise ValueError(f"binding: expected one of {', '.join(get_args(Binding))}, found {binding!r}")
        if dim < 8 or dim % 4 or (binding == "hadamard" and dim & (dim - 1)):
            wanted = "a power of two from 8" if binding == "hadamard" else "a multiple of 4 from 8"
            raise ValueError(f"dim: expected {wanted}, found {dim}")
        self.dim, self.seed, self.binding = dim, seed, binding
        self._parts = lru_cache(MATRICES_KEPT[binding])(self._drawn)
        self.atom = lru_cache(65536)(self._atom)

    def bits(self, kind: str, symbol: str, count: int) -> NDArray[np.uint64]:
        """Random 64-bit numbers (count,) of a symbol; the kind tells atoms from keys of the same name."""
        text = json.dumps([self.seed, kind, symbol]).encode()
        digest = hashlib.blake2b(text, digest_size=8).digest()
        return np.random.PCG64(int.from_bytes(digest, "little")).random_raw(count)

    def normals(self, kind: str, symbol: str, count: int) -> NDArray[np.float64]:
        """Standard normal numbers (count,) of a symbol."""
        return ndtri(((self.bits(kind, symbol, count) >> np.uint64(11)) + 0.5) * 2.0**-53)

    def _atom(self, symbol: str, kind: str = "atom") -> NDArray[np.float64]:
        """The unit vector (D,) of a symbol, each number +-1 / sqrt(D)."""
        return self._signs(kind, symbol) / self.dim**0.5

    def bind(self, key: str, v: NDArray) -> NDArray[np.float64]:
        """The matrix of a key times vectors (..., D)."""
        parts = self._parts(key)
        if self.binding == "signed_permutation":
            return v[..., parts[0]] * parts[1]
        if self.binding == "hadamard":
            return _hadamard(_hadamard(v * parts[0]) * parts[1])
        return v @ parts[0].T

    def unbind(self, key: str, v: NDArray) -> NDArray[np.float64]:
        """The transposed matrix of a key, which is its inverse if it is orthogonal, times vectors (..., D)."""
        parts = self._parts(key)
        if self.binding == "signed_permutation":
            return (v * parts[1])[..., parts[2]]
        if self.binding == "hadamard":
            return _hadamard(_hadamard(v) * parts[1]) * parts[0]
        return v @ parts[0]

    def matrix(self, key: str) -> NDArray[np.float64]:
        """The matrix (D, D) of a key."""
        return self.bind(key, np.eye(self.dim)).T

    def bundle(self, vs: Sequence[NDArray], weights: Sequence[float] | None = None) -> NDArray[np.float64]:
        """The sum (D,) of vectors (D,)."""
        weights = [1.0] * len(vs) if weights is None else weights
        return sum((w * v for w, v in zip(weights, vs, strict=True)), np.zeros(self.dim))

    def sequence(self, vs: Sequence[NDArray]) -> NDArray[np.float64]:
        """x_1 + P x_2 + P^2 x_3 ... (D,) of vectors (D,), by Horner's rule."""
        total = np.zeros(self.dim)
        for v in reversed(vs):
            total = v + self.bind(_NEXT, total)
        return total

    def unsequence(self, v: NDArray, i: int) -> NDArray[np.float64]:
        """What stands at place i, from 0, of a sequence (D,), with the noise of the others."""
        for _ in range(i):
            v = self.unbind(_NEXT, v)
        return v

    def _signs(self, kind: str, symbol: str) -> NDArray[np.float64]:
        """Random +-1 (D,) of a symbol."""
        words = self.bits(kind, symbol, -(-self.dim // 64)).astype("<u8")
        return 2.0 * np.unpackbits(words.view(np.uint8), count=self.dim).astype(np.float64) - 1.0

    def _drawn(self, key: str) -> tuple[NDArray, ...]:
        """What a matrix is made of."""
        if self.binding == "signed_permutation":
            order = np.argsort(self.bits("order", key, self.dim), kind="stable")
            return order, self._signs("signs", key), np.argsort(order)
        if self.binding == "hadamard":
            return self._signs("signs", key), self._signs("more signs", key)
        gaussian = self.normals("matrix", key, self.dim**2).reshape(self.dim, self.dim)
        if self.binding == "gaussian":
            return (gaussian / self.dim**0.5,)
        q, r = np.linalg.qr(gaussian)
        return (q * np.sign(np.diag(r)),)  # without the signs it would not be uniform over the rotations (Haar)


@dataclass(frozen=True)
class JSONConfig:
    """How documents become vectors.

    Attributes:
        dim: numbers of a vector.
        seed: of the space.
        binding: kind of the matrices, see `MBAT`.
        numbers: "rff" lets numbers be alike that lie near each other; "atoms" does not.
        scale: distance at which numbers begin to differ.
        scales: the same, by name of the field.
        arrays: whether their order counts.
        normalise: "level" brings every object and array to unit length, "none" the whole document only.
        strings: "words" lets strings be alike that have words in common; "atoms" does not.
    """

    dim: int = 2048
    seed: int = 0
    binding: Binding = "signed_permutation"
    numbers: Literal["rff", "atoms"] = "rff"
    scale: float = 1.0
    scales: Mapping[str, float] = field(default_factory=dict)
    arrays: Arrays = "ordered"
    normalise: Normalise = "level"
    strings: Strings = "words"

    def __post_init__(self) -> None:
        for name, choices in (("numbers", ("rff", "atoms")), ("arrays", get_args(Arrays))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: expected one of {', '.join(choices)}, found {getattr(self, name)!r}")
        for name, choices in (("normalise", get_args(Normalise)), ("strings", get_args(Strings))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: expected one of {', '.join(choices)}, found {getattr(self, name)!r}")
        for name, scale in {"scale": self.scale, **self.scales}.items():
            if not (isinstance(scale, int | float) and 0 < scale < np.inf):
                raise ValueError(f"scale of {name}: expected a positive number, found {scale!r}")


class JSONEncoder:
    """A `DocumentEncoder`: vectors (D,) of JSON values, of unit length.

    Args:
        config: how.
    """

    modality: Modality = "json"

    def __init__(self, config: JSONConfig | None = None) -> None:
        self.config = config or JSONConfig()
        self.mbat = MBAT(self.config.dim, self.config.seed, self.config.binding)
        self.width = self.config.dim
        self._frequencies = self.mbat.normals("frequencies", "numbers", self.width // 2).reshape(2, -1)

    def encode(self, document: Any) -> NDArray[np.float32]:
        """The vector (D,) of a JSON value.

        Raises:
            TypeError: something in it is no JSON.
            ValueError: a number is not finite, or it is nested too deeply.
        """
        return _unit(self.node(document)).astype(np.float32)

    def encode_batch(self, documents: Sequence[Any]) -> NDArray[np.float32]:
        """The vectors (N, D) of N JSON values."""
        return np.array([self.encode(document) for document in documents], np.float32).reshape(-1, self.width)

    def probe(self, vector: NDArray, path: Sequence[str | int]) -> NDArray[np.float64]:
        """What stands at a path of keys and places, in the vector (D,) of a document; with the noise of all else."""
        found = np.asarray(vector, np.float64)
        for step in path:
            if isinstance(step, str):
                found = self.mbat.unbind(step, found)
            else:
                found = self.mbat.unbind(_ARRAY, found)
                if self.config.arrays == "ordered":
                    found = self.mbat.unsequence(found, step)
        return found

    def node(self, value: Any, name: str = "", depth: int = 0) -> NDArray[np.float64]:
        """The vector (D,) of a part of a document, which stands under a name; errors as of `encode`."""
        if depth > MAX_DEPTH:
            raise ValueError(f"document: expected at most {MAX_DEPTH} levels, found more")
        atom = self.mbat.atom
        if value is None or isinstance(value, bool):
            return atom(json.dumps(value), "constant")
        if isinstance(value, str):
            return self._string(value)
        if isinstance(value, int | float):
            return self._number(value, name)
        if isinstance(value, Mapping):
            if not all(isinstance(key, str) for key in value):
                raise TypeError(f"document: expected strings as keys, found {[k for k in value if type(k) is not str]}")
            parts = [self.mbat.bind(key, self.node(part, key, depth + 1)) for key, part in value.items()]
            return self._level(self.mbat.bundle(parts)) if parts else atom("{}", "empty")
        if isinstance(value, list | tuple):
            items = [self.node(part, name, depth + 1) for part in value]
            if not items:
                return atom("[]", "empty")
            ordered = self.config.arrays == "ordered"
            return self._level(self.mbat.bind(_ARRAY, (self.mbat.sequence if ordered else self.mbat.bundle)(items)))
        raise TypeError(f"document: expected JSON, found {type(value).__name__}")

    def save(self, directory: Path) -> None:
        """Write the encoder."""
        save_config(SYSTEM, self.config, directory)

    def _string(self, value: str) -> NDArray[np.float64]:
        whole = self.mbat.atom(value)
        words = value.lower().split()
        if self.config.strings == "atoms" or not words:
            return whole
        return _unit(self.mbat.bundle([self.mbat.atom(word, "word") for word in words]) / len(words) ** 0.5 + whole)

    def _number(self, value: float, name: str) -> NDArray[np.float64]:
        number = float(value)
        if not np.isfinite(number):
            raise ValueError(f"document: {name}: expected finite numbers, found {value}")
        if self.config.numbers == "atoms":
            return self.mbat.atom(repr(number), "number")
        scaled = number / self.config.scales.get(name, self.config.scale)
        channels = np.array([scaled, np.sign(scaled) * np.log1p(abs(scaled))])
        angles = (self._frequencies * channels[:, None]).reshape(-1)
        return np.concatenate([np.cos(angles), np.sin(angles)]) * (2 / self.width) ** 0.5

    def _level(self, v: NDArray[np.float64]) -> NDArray[np.float64]:
        return _unit(v) if self.config.normalise == "level" else v


class CleanUp:
    """Names what is left of an atom after unbinding: the nearest of known vectors.

    Args:
        names: of the vectors.
        vectors: (M, D).
    """

    def __init__(self, names: Sequence[str], vectors: NDArray) -> None:
        if len(names) != len(vectors):
            raise ValueError(f"vectors: expected {len(names)}, one for each name, found {len(vectors)}")
        self.names, self._index = list(names), VectorIndex(np.asarray(vectors).shape[-1])
        for name, vector in zip(names, vectors, strict=True):
            self._index.add(name, vector)

    def nearest(self, v: NDArray, k: int = 1) -> list[tuple[str, float]]:
        """The k nearest names with their cosines, the nearest first."""
        ids, cosines = self._index.search(v, k)
        return list(zip(ids, cosines.tolist(), strict=True))


class VectorIndex:
    """Vectors by name, compared one by one.

    Args:
        dim: numbers D of a vector.
    """

    def __init__(self, dim: int) -> None:
        self.dim, self._ids, self._vectors = dim, [], np.zeros((0, dim))

    def add(self, id: str, v: NDArray) -> None:
        """Keep a vector (D,)."""
        if np.shape(v) != (self.dim,):
            raise ValueError(f"vector: expected ({self.dim},), found {np.shape(v)}")
        if len(self._ids) == len(self._vectors):
            room = np.zeros((max(16, len(self._ids)), self.dim))
            self._vectors = np.concatenate([self._vectors, room])
        self._vectors[len(self._ids)] = _unit(np.asarray(v, np.float64))
        self._ids.append(id)

    def search(self, v: NDArray, k: int) -> tuple[list[str], NDArray[np.float64]]:
        """The names and cosines (k,) of the nearest vectors, the nearest first."""
        cosines = self._vectors[: len(self._ids)] @ _unit(np.asarray(v, np.float64))
        order = np.argsort(-cosines, kind="stable")[:k]
        return [self._ids[place] for place in order], cosines[order]


def load(directory: Path) -> JSONEncoder:
    """Read what `JSONEncoder.save` wrote.

    Raises:
        ValueError: damaged.
    """
    try:
        return JSONEncoder(JSONConfig(**read_config(directory)["config"]))
    except TypeError as error:
        raise ValueError(f"{directory}: expected the configuration of {SYSTEM}: {error}") from error


def _unit(v: NDArray) -> NDArray:
    length = np.linalg.norm(v)
    return v / length if length > 0 else v


def _hadamard(v: NDArray) -> NDArray[np.float64]:
    """The orthogonal Walsh-Hadamard transform of vectors (..., D), which is its own inverse."""
    dim = np.shape(v)[-1]
    rows = 1 << (dim.bit_length() // 2)  # the matrix is the Kronecker product of two small ones
    grid = np.reshape(v, (*np.shape(v)[:-1], rows, dim // rows))
    return (_rotation(rows) @ grid @ _rotation(dim // rows)).reshape(np.shape(v)) / dim**0.5


@lru_cache(16)
def _rotation(size: int) -> NDArray[np.float64]:
    return hadamard_matrix(size).astype(np.float64)


@dataclass(frozen=True)
class _Command:
    """Write an encoder of JSON.

    Attributes:
        output: directory that gets it.
        config: how documents become vectors.
    """

    output: Path
    config: JSONConfig = field(default_factory=JSONConfig)


def main(args: Sequence[str] | None = None) -> None:
    """Write the encoder that the arguments describe."""
    command = tyro.cli(_Command, args=args, description=__doc__)
    JSONEncoder(command.config).save(command.output)
    print(f"{command.output}: an encoder of {SYSTEM}, {asdict(command.config)}")


if __name__ == "__main__":
    main()
