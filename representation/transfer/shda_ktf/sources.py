"""Sources of labelled vectors: noise, as the paper draws it, and the field's benchmarks in MATLAB files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.io
import torch
from numpy.typing import NDArray
from torch import Tensor

from representation.transfer.shda_ktf.model import unit_rows

Kind = Literal["gaussian", "laplace", "uniform"]
Covariance = Literal["identity", "psd"]
UNIFORM_REACH = 10.0
MAX_MAT_BYTES = 4 * 2**30  # of a file, unpacked
MAX_CELLS = 10_000
UNREADABLE = (
    OSError, ValueError, TypeError, KeyError, IndexError, NotImplementedError, MemoryError, struct.error, zlib.error,
    scipy.io.matlab.MatReadError,
)  # fmt: skip
"""What SciPy raises on files that are damaged."""
_HEADER_BYTES, _COMPRESSED, _CHUNK = 128, 15, 2**20

Labelled = tuple[Tensor, Tensor]
"""Vectors (n, d), and classes (n,) from 0 to C - 1."""


def noise_source(
    num_classes: int,
    dim: int = 256,
    per_class: int | tuple[int, int] = 100,
    kind: Kind = "gaussian",
    separation: float = 1.0,
    covariance: Covariance = "identity",
    seed: int = 0,
    graded: bool = False,
) -> Labelled:
    """Draw classes of noise around means that are noise too; rows have length 1 (section 2, "noise sources").

    Args:
        num_classes: C.
        dim: numbers d of a vector.
        per_class: vectors of a class; two numbers draw it evenly between them, both included.
        kind: of the noise around the means; of `laplace` and `uniform` the means are of the same kind.
        separation: alpha, factor of the means; 0 leaves no class structure.
        covariance: of Gaussian noise: the identity, or a random matrix without negative eigenvalues.
        seed: of what is drawn.
        graded: whether class k has k times the separation, and k times the factor of its random covariance, as in the
            paper's series of different means and covariances.

    Raises:
        ValueError: fewer than 2 classes, no vectors, or a covariance of noise that is not Gaussian.
    """
    least, most = (per_class, per_class) if isinstance(per_class, int) else per_class
    if num_classes < 2 or dim < 1 or not 1 <= least <= most or separation < 0:
        raise ValueError(
            "num_classes, dim, per_class, separation: expected at least 2, 1, 1 and 0, "
            f"found {num_classes}, {dim}, {per_class} and {separation}"
        )
    if kind not in ("gaussian", "laplace", "uniform") or covariance not in ("identity", "psd"):
        raise ValueError(f"kind, covariance: expected known ones, found {kind!r} and {covariance!r}")
    if covariance == "psd" and kind != "gaussian":
        raise ValueError(f"covariance: expected identity for {kind} noise, found psd")
    rng, parts, labels = np.random.default_rng(seed), [], []
    for number in range(num_classes):
        factor = separation * (number + 1 if graded else 1)
        count = int(rng.integers(least, most + 1))
        mean, noise = factor * _drawn(rng, kind, (dim,)), _drawn(rng, kind, (count, dim))
        if covariance == "psd":
            noise = noise @ _root_of_covariance(rng, dim) * (factor**0.5 if graded else 1.0)
        parts.append(mean + noise)
        labels.append(np.full(count, number))
    return unit_rows(torch.from_numpy(np.concatenate(parts)).float()), torch.from_numpy(np.concatenate(labels))


def _drawn(rng: np.random.Generator, kind: Kind, shape: tuple[int, ...]) -> NDArray[np.float64]:
    if kind == "gaussian":
        return rng.standard_normal(shape)
    return rng.laplace(size=shape) if kind == "laplace" else rng.uniform(-UNIFORM_REACH, UNIFORM_REACH, shape)


def _root_of_covariance(rng: np.random.Generator, dim: int) -> NDArray[np.float64]:
    """A matrix (d, d) that makes noise of a random covariance out of noise of the identity."""
    drawn = rng.standard_normal((dim, dim))
    values, vectors = np.linalg.eigh((drawn + drawn.T) / 2)
    return np.sqrt(values.clip(min=0))[:, None] * vectors.T


@dataclass(frozen=True)
class TargetSplit:
    """One random split of a target.

    Attributes:
        xl: (n_l, D) labelled.
        yl: (n_l,) classes from 0.
        xu: (n_u, D) unlabelled in training.
        yu: (n_u,) their classes, to score with; None if the file does not tell.
    """

    xl: Tensor
    yl: Tensor
    xu: Tensor
    yu: Tensor | None


@dataclass(frozen=True)
class ShdaMat:
    """What a MATLAB file of a benchmark holds.

    Attributes:
        source: labelled vectors; None in a file of targets alone.
        splits: of the target; empty in a file of a source alone.
    """

    source: Labelled | None
    splits: tuple[TargetSplit, ...]


def load_shda_mat(path: Path) -> ShdaMat:
    """Read `source_features`, `source_labels` and the cells `training_features`, `testing_features` with their labels.

    Numbers of classes begin at 1 in the file and at 0 here; vectors may be its rows or its columns, labels tell which.
    The file may come from anyone: its size, packed and unpacked, and its numbers of cells are limited, and nothing in
    it is run.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, too large, of MATLAB's format 7.3, or without what is asked for.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a MATLAB file, found none")
    try:
        _check_size(path)
        cells = [(name, shape) for name, shape, kind in scipy.io.whosmat(str(path)) if kind in ("cell", "struct")]
        for name, shape in cells:
            if np.prod(shape, dtype=float) > MAX_CELLS:
                raise ValueError(f"{name}: expected at most {MAX_CELLS} cells, found {shape}")
        names = [f"{part}_{what}" for part in ("source", "training", "testing") for what in ("features", "labels")]
        content = scipy.io.loadmat(str(path), variable_names=names)
        source = _labelled(content, "source") if "source_features" in content else None
        splits = tuple(_splits(content)) if "training_features" in content else ()
    except UNREADABLE as error:
        raise ValueError(f"{path}: expected a MATLAB file of a benchmark (before format 7.3): {error}") from error
    if source is None and not splits:
        raise ValueError(f"{path}: expected source_features or training_features, found neither")
    return ShdaMat(source, splits)


def _check_size(path: Path) -> None:
    """Unpack each compressed element without keeping it, and stop where there is too much."""
    if path.stat().st_size > MAX_MAT_BYTES:
        raise ValueError(f"expected at most {MAX_MAT_BYTES} bytes, found {path.stat().st_size}")
    total = 0
    with path.open("rb") as file:
        order = "<" if file.read(_HEADER_BYTES)[-2:] == b"IM" else ">"
        while len(tag := file.read(8)) == 8:
            kind, size = struct.unpack(f"{order}II", tag)
            if kind != _COMPRESSED:
                file.seek(size, 1)
                continue
            unpacker = zlib.decompressobj()
            while size > 0 and (packed := file.read(min(size, _CHUNK))):
                size -= len(packed)
                while packed:
                    total += len(unpacker.decompress(packed, _CHUNK))
                    packed = unpacker.unconsumed_tail
                    if total > MAX_MAT_BYTES:
                        raise ValueError(f"expected at most {MAX_MAT_BYTES} bytes, found more when unpacked")


def _labelled(content: Mapping[str, Any], part: str) -> Labelled:
    return _vectors_and_classes(content[f"{part}_features"], content[f"{part}_labels"], part)


def _splits(content: Mapping[str, Any]) -> list[TargetSplit]:
    columns = {name: _cells(content[name]) for name in ("training_features", "training_labels", "testing_features")}
    truths = (
        _cells(content["testing_labels"]) if "testing_labels" in content else [None] * len(columns["testing_features"])
    )
    found = []
    for xl, yl, xu, yu in zip(*columns.values(), truths, strict=True):
        labelled, classes = _vectors_and_classes(xl, yl, "training")
        if yu is None:
            unlabelled, truth = _numbers(xu, "testing_features"), None
        else:
            unlabelled, truth = _vectors_and_classes(xu, yu, "testing")
        if labelled.shape[1] != unlabelled.shape[1]:
            widths = labelled.shape[1], unlabelled.shape[1]
            raise ValueError(f"testing_features: expected vectors as those of training_features, found {widths}")
        found.append(TargetSplit(labelled, classes, unlabelled, truth))
    return found


def _cells(value: NDArray) -> list[NDArray]:
    return list(value.ravel()) if value.dtype == object else [value]


def _numbers(value: Any, name: str) -> Tensor:
    dense = value.toarray() if hasattr(value, "toarray") else np.asarray(value)
    if dense.ndim != 2 or dense.dtype.kind not in "fiu" or not dense.size or not np.isfinite(dense).all():
        raise ValueError(f"{name}: expected finite numbers (n, d), found {dense.shape} {dense.dtype}")
    return torch.from_numpy(np.ascontiguousarray(dense, dtype=np.float32))


def _vectors_and_classes(features: Any, labels: Any, part: str) -> Labelled:
    vectors, classes = _numbers(features, f"{part}_features"), _numbers(labels, f"{part}_labels").ravel()
    if len(vectors) != len(classes) and vectors.shape[1] == len(classes):
        vectors = vectors.T.contiguous()
    whole = classes.long()
    if len(vectors) != len(classes) or not torch.equal(whole.float(), classes) or int(whole.min()) < 1:
        raise ValueError(
            f"{part}_labels: expected a class from 1 for each of {len(vectors)} vectors, found {len(classes)} from "
            f"{float(classes.min()):g} to {float(classes.max()):g}"
        )
    return vectors, whole - 1
