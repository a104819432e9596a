"""Signals of one subject with what it saw or did: from arrays, from .npy files, or drawn; and batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

VOXEL_SCALE = 300.0  # of NSD's voxels
MAX_FILE_BYTES = 64 * 2**30


@dataclass(frozen=True)
class SubjectData:
    """n samples of one subject.

    Attributes:
        signals: (n, v) as recorded.
        tokens: (n, N, D) targets: an encoder's tokens of what was seen, the first one the token of the class.
        texts: (n, K, D) embeddings of K sentences on each, of which one is drawn in each epoch; None for none.
        values: (n, k) numbers to read out, by name.
        latents: (n, C, S, S) coarse pictures for the low-level pipeline; None for none.
    """

    signals: Tensor
    tokens: Tensor
    texts: Tensor | None = None
    values: Mapping[str, Tensor] = field(default_factory=dict)
    latents: Tensor | None = None

    def __post_init__(self) -> None:
        for name, part, sides in self._parts():
            if part.ndim != sides or len(part) != len(self.signals) or not len(part):
                raise ValueError(
                    f"{name}: expected {len(self.signals)} rows of {sides} dimensions, found {tuple(part.shape)}"
                )
            if not torch.isfinite(part).all():
                raise ValueError(f"{name}: expected finite numbers, found {int((~part.isfinite()).sum())} others")

    def _parts(self) -> Iterator[tuple[str, Tensor, int]]:
        yield "signals", self.signals, 2
        yield "tokens", self.tokens, 3
        yield from ((name, values, 2) for name, values in self.values.items())
        for name, part, sides in (("texts", self.texts, 3), ("latents", self.latents, 4)):
            if part is not None:
                yield name, part, sides

    def __len__(self) -> int:
        return len(self.signals)

    def subset(self, rows: Tensor) -> SubjectData:
        """Some of the samples."""
        return SubjectData(
            self.signals[rows],
            self.tokens[rows],
            None if self.texts is None else self.texts[rows],
            {name: values[rows] for name, values in self.values.items()},
            None if self.latents is None else self.latents[rows],
        )


class SubjectBatch(NamedTuple):
    """Some samples; fields as of `SubjectData`, but of each one text (B, D)."""

    signals: Tensor
    tokens: Tensor
    texts: Tensor | None
    values: dict[str, Tensor]
    latents: Tensor | None


class SubjectLoader:
    """Batches of one subject's samples, in a new order and with newly drawn texts in every epoch.

    Args:
        data: the samples.
        batch_size: of a batch; what is left over is left out, unless there are fewer samples than that.
        seed: of orders and texts.
    """

    def __init__(self, data: SubjectData, batch_size: int, seed: int = 0) -> None:
        if batch_size < 2 or len(data) < 2:
            raise ValueError(f"batch_size, samples: expected at least 2, found {batch_size} and {len(data)}")
        self.data, self.batch_size = data, min(batch_size, len(data))
        self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self.data) // self.batch_size

    def __iter__(self) -> Iterator[SubjectBatch]:
        data = self.data
        order = torch.randperm(len(data), generator=self._generator)
        for rows in order[: len(self) * self.batch_size].split(self.batch_size):
            texts = None
            if data.texts is not None:
                texts = data.texts[rows, torch.randint(data.texts.shape[1], rows.shape, generator=self._generator)]
            values = {name: column[rows] for name, column in data.values.items()}
            latents = None if data.latents is None else data.latents[rows]
            yield SubjectBatch(data.signals[rows], data.tokens[rows], texts, values, latents)


def over_class_token(tokens: Tensor) -> Tensor:
    """Tokens (n, N, D), each sample divided by the length of its class token, the first one."""
    return tokens / tokens[:, :1].norm(dim=2, keepdim=True).clamp(min=1e-12)


def read_subject(
    signals: Path,
    tokens: Path,
    texts: Path | None = None,
    latents: Path | None = None,
    scale: float = VOXEL_SCALE,
    rows: Sequence[int] | None = None,
) -> SubjectData:
    """Read one subject of fMRI, or of anything, from .npy files; nothing is unpickled.

    Args:
        signals: (n, v) numbers, such as voxels; (n, R, v) of R repetitions is averaged over them.
        tokens: (n, N, D) CLIP's hidden tokens of the pictures, which are divided by the length of the first.
        texts: (n, K, D) or (n, D) CLIP's embeddings of captions.
        latents: (n, C, S, S) latents of the pictures.
        scale: what signals are divided by.
        rows: which samples; all if None.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or arrays do not fit each other.
    """

    def part(path: Path) -> Tensor:
        array = _read(path)
        return torch.from_numpy(np.array(array if rows is None else array[list(rows)], dtype=np.float32))

    recorded, hidden = part(signals), part(tokens)
    if recorded.ndim == 3:
        recorded = recorded.mean(dim=1)
    captions, coarse = (None if path is None else part(path) for path in (texts, latents))
    if captions is not None and captions.ndim == 2:
        captions = captions[:, None]
    if hidden.ndim != 3:
        raise ValueError(f"{tokens}: expected (n, N, D), found {tuple(hidden.shape)}")
    return SubjectData(recorded / scale, over_class_token(hidden), captions, {}, coarse)


def _read(path: Path) -> NDArray:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a .npy file, found none")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path}: expected numbers in the .npy format: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.nbytes > MAX_FILE_BYTES:
        raise ValueError(f"{path}: expected at most {MAX_FILE_BYTES} bytes of numbers in the .npy format, found others")
    return array


def synthetic_subjects(
    dims: Mapping[str, int],
    count: int | Mapping[str, int],
    seed: int = 0,
    stimulus_dim: int = 6,
    target_dim: int = 32,
    inner: int = 64,
    noise: float = 0.2,
) -> dict[str, SubjectData]:
    """Draw subjects that see different stimuli through different maps; targets are the same function of the stimulus.

    A stimulus u ~ N(0, I) is observed as u A_s + noise, and its target is the direction of sin(1.5 u Q) Q2, with one
    token; all matrices are drawn. A subject's map is the same whatever `count` is.

    Args:
        dims: width of the signals of each, by name.
        count: samples of each.
        seed: of everything.
        stimulus_dim: numbers of a stimulus.
        target_dim: numbers of a target.
        inner: columns of Q.
        noise: its deviation.
    """
    rng = np.random.default_rng(seed)
    q = rng.standard_normal((stimulus_dim, inner)) / stimulus_dim**0.5
    q2 = rng.standard_normal((inner, target_dim)) / inner**0.5
    found = {}
    for name, dim in dims.items():
        seen = rng.standard_normal((stimulus_dim, dim)) / stimulus_dim**0.5
        draw = np.random.default_rng(rng.integers(2**62))
        u = draw.standard_normal((count if isinstance(count, int) else count[name], stimulus_dim))
        signals = u @ seen + noise * draw.standard_normal((len(u), dim))
        targets = F.normalize(torch.from_numpy(np.sin(1.5 * u @ q) @ q2).float(), dim=1)
        found[name] = SubjectData(torch.from_numpy(signals).float(), targets[:, None])
    return found
