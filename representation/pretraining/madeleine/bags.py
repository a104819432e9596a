"""Samples as bags of tokens, one bag for each modality: in memory, or in the files of whole-slide pathology.

There, features of patches lie in HDF5 files `SLIDE_MODALITY.h5`, dataset `features` (N, d), and a CSV table tells which
slide has which modality: columns `slide_id`, `split`, and one of 0 and 1 for each modality.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np
import torch
from torch import Tensor

SLIDE, SPLIT, FEATURES = "slide_id", "split", "features"
MAX_NUMBERS = 2**31  # of a bag


class BagDataset(Protocol):
    """Samples that several modalities saw; the first is the reference.

    Attributes:
        modalities: their names.
        width: numbers d of a token.
    """

    modalities: Sequence[str]
    width: int

    def __len__(self) -> int:
        """How many samples there are."""
        ...

    def sample(self, index: int, n_tokens: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Tokens (M, n_tokens, d) of a sample, and whether it has each modality (M,); a missing one holds zeros."""
        ...


def drawn_tokens(bag: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Random tokens (count, d) of a bag (N, d): each once, or with repetition where there are fewer."""
    if len(bag) >= count:
        return bag[torch.randperm(len(bag), generator=generator)[:count]]
    return bag[torch.randint(len(bag), (count,), generator=generator)]


class MemoryBags:
    """Bags of one size in memory.

    Args:
        tokens: (S, M, N, d).
        modalities: names of the M.
        available: (S, M); all if None.

    Raises:
        ValueError: shapes that do not fit, or a token of an available modality is not finite.
    """

    def __init__(self, tokens: Tensor, modalities: Sequence[str], available: Tensor | None = None) -> None:
        available = torch.ones(tokens.shape[:2], dtype=torch.bool) if available is None else available.bool()
        if tokens.ndim != 4 or tokens.shape[1] != len(modalities) or available.shape != tokens.shape[:2]:
            raise ValueError(
                f"tokens, available: expected (S, {len(modalities)}, N, d) and (S, {len(modalities)}), found "
                f"{tuple(tokens.shape)} and {tuple(available.shape)}"
            )
        if not bool(torch.isfinite(tokens[available]).all()):
            raise ValueError("tokens: expected finite ones, found some that are not")
        self.modalities, self.width = modalities, tokens.shape[3]
        self._tokens, self._available = tokens.masked_fill(~available[..., None, None], 0), available

    def __len__(self) -> int:
        return len(self._tokens)

    def sample(self, index: int, n_tokens: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """See `BagDataset`; all tokens, in their order, where they are as many as are asked for."""
        bags = self._tokens[index]
        if bags.shape[1] != n_tokens:
            bags = torch.stack([drawn_tokens(bag, n_tokens, generator) for bag in bags])
        return bags, self._available[index]


@dataclass(frozen=True)
class Slide:
    """A row of the table.

    Attributes:
        name: of the slide.
        split: that it belongs to.
        available: whether it has each modality.
    """

    name: str
    split: str
    available: tuple[bool, ...]


def read_table(path: Path) -> tuple[tuple[str, ...], list[Slide]]:
    """Names of the modalities, in the order of the columns, and the slides of a CSV table.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a column is missing, there are fewer than two modalities, a slide stands there twice, or a value is
            neither 0 nor 1.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns = tuple(reader.fieldnames or ())
        modalities = tuple(name for name in columns if name not in (SLIDE, SPLIT))
        if SLIDE not in columns or SPLIT not in columns or len(modalities) < 2:
            raise ValueError(f"{path}: expected columns {SLIDE}, {SPLIT} and two modalities or more, found {columns}")
        slides = []
        for row in reader:
            values = [row[name] for name in modalities]
            if not set(values) <= {"0", "1"}:
                raise ValueError(f"{path}: {row[SLIDE]}: expected 0 or 1 for each modality, found {values}")
            slides.append(Slide(row[SLIDE], row[SPLIT], tuple(value == "1" for value in values)))
    if len({slide.name for slide in slides}) < len(slides):
        raise ValueError(f"{path}: expected each slide once, found {len(slides)} rows with fewer names")
    return modalities, slides


def read_bag(path: Path) -> Tensor:
    """Tokens (N, d) float32 of one HDF5 file.

    Raises:
        ValueError: damaged, without such a dataset in the file itself, empty, or not finite; names the file.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            if not isinstance(file.get(FEATURES, getlink=True), h5py.HardLink):
                raise ValueError(f"{path}: expected a dataset {FEATURES} in the file itself, found {sorted(file)}")
            data = file[FEATURES]
            if not isinstance(data, h5py.Dataset) or data.is_virtual or data.external or data.dtype.kind != "f":
                raise ValueError(f"{path}: {FEATURES}: expected floating-point numbers in the file itself")
            if data.ndim != 2 or not 0 < data.size <= MAX_NUMBERS:
                raise ValueError(f"{path}: {FEATURES}: expected (N, d), up to {MAX_NUMBERS}, found {data.shape}")
            values = data[:].astype(np.float32)
    except (OSError, RuntimeError, LookupError, TypeError) as error:  # what h5py makes of damage
        raise ValueError(f"{path}: expected a readable HDF5 file: {error}") from error
    if not np.isfinite(values).all():
        raise ValueError(f"{path}: {FEATURES}: expected finite numbers, found some that are not")
    return torch.from_numpy(values)


class StoredBags:
    """Bags of files, read when they are asked for.

    Args:
        directory: of the HDF5 files.
        table: the CSV table.
        split: whose slides these are; all if empty.
        reference: name of the modality that comes first; the table's first if empty.

    Raises:
        ValueError: damaged, no such modality, or no slide of that split.
    """

    def __init__(self, directory: Path, table: Path, split: str = "", reference: str = "") -> None:
        modalities, slides = read_table(table)
        self.slides = [slide for slide in slides if split in ("", slide.split)]
        reference = reference or modalities[0]
        if not self.slides or reference not in modalities:
            found = sorted({slide.split for slide in slides})
            raise ValueError(
                f"{table}: expected slides of {split or 'any split'} and a modality {reference}, found splits {found} "
                f"and {modalities}"
            )
        first = modalities.index(reference)
        self._order = [first, *(m for m in range(len(modalities)) if m != first)]
        self.modalities, self._directory = tuple(modalities[m] for m in self._order), directory
        some = next(((s, m) for s in self.slides for m in range(len(modalities)) if s.available[m]), None)
        if some is None:
            raise ValueError(f"{table}: expected a slide with a modality, found none")
        self.width = read_bag(self._file(some[0], modalities[some[1]])).shape[1]

    def __len__(self) -> int:
        return len(self.slides)

    def has_reference(self, slide: Slide) -> bool:
        """Whether a slide of the table has the modality that comes first."""
        return slide.available[self._order[0]]

    def bag(self, index: int, modality: str) -> Tensor:
        """All tokens (N, d) of a slide in a modality.

        Raises:
            ValueError: damaged, or of another width than the others.
        """
        path = self._file(self.slides[index], modality)
        found = read_bag(path)
        if found.shape[1] != self.width:
            raise ValueError(f"{path}: expected tokens of {self.width} numbers, found {found.shape[1]}")
        return found

    def sample(self, index: int, n_tokens: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """See `BagDataset`."""
        available = torch.tensor([self.slides[index].available[m] for m in self._order])
        bags = torch.zeros(len(self.modalities), n_tokens, self.width)
        for m, modality in enumerate(self.modalities):
            if available[m]:
                bags[m] = drawn_tokens(self.bag(index, modality), n_tokens, generator)
        return bags, available

    def _file(self, slide: Slide, modality: str) -> Path:
        return self._directory / f"{slide.name}_{modality}.h5"
