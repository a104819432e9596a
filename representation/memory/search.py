"""Which vectors of a table are near to a query: all of them compared, or fewer numbers of each first.

- `exact` compares the whole vectors of all rows.
- `funnel` makes a shortlist by the prefixes and sorts it by the whole vectors: for nested vectors (`matryoshka`), which
  keep most of what they tell in their first numbers.
- `signs` counts the signs that differ (Hamming distance), a bit for each number; the one way where only they are kept.
- `approximate` compares the whole vectors of the cells next to the query; it needs an index.

`funnel` and `signs` use an index where there is one and then compare the nearest cells only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import torch
from lancedb.expr import Expr
from numpy.typing import NDArray

from representation.memory.schema import ROW_COLUMNS, EncoderColumns, Row, sign_codes
from representation.pretraining.matryoshka import NestedIndex

Mode = Literal["exact", "funnel", "signs", "approximate"]
MODES: tuple[Mode, ...] = get_args(Mode)
PART: dict[Mode, str] = {"exact": "vector", "funnel": "prefix", "signs": "signs", "approximate": "vector"}
SHORTLIST = 20  # candidates of the funnel for each row that is wanted


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How a search is done.

    Attributes:
        k: rows that are wanted.
        mode: see the module.
        shortlist: candidates of the funnel; 0 takes 20 for each row that is wanted.
        cells: of an index that are looked into.
    """

    k: int = 10
    mode: Mode = "exact"
    shortlist: int = 0
    cells: int = 20

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode: expected one of {', '.join(MODES)}, found {self.mode!r}")
        for name, low in (("k", 1), ("shortlist", 0), ("cells", 1)):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= 10_000:
                raise ValueError(f"{name}: expected {low} to 10000, found {value!r}")


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that was found.

    Attributes:
        row: it.
        similarity: cosine with the query; of `signs`, the share of signs that are the same.
    """

    row: Row
    similarity: float


def search(
    table: Any, encoder: EncoderColumns, query: NDArray, options: SearchOptions, where: Expr | None = None
) -> list[Hit]:
    """The nearest rows, the nearest first; rows without a vector of the encoder are not among them.

    Args:
        table: of LanceDB.
        encoder: whose vectors are compared.
        query: (D,).
        options: how.
        where: condition that rows must fulfil.

    Raises:
        ValueError: the query has another width, or the table lacks what the mode needs.
    """
    query = encoder.checked(np.asarray(query)[None])[0]
    part = PART[options.mode]
    if encoder.only_signs and part != "signs":
        raise ValueError(f"mode: expected signs, which are all that is kept of {encoder.key}, found {options.mode}")
    if (part == "prefix" and not encoder.prefix) or (part == "signs" and not encoder.signs):
        raise ValueError(f"mode: expected an encoder registered with {part}, found {encoder.key} without")
    indexed = has_index(table, encoder.column(part))
    if options.mode == "approximate" and not indexed:
        raise ValueError(f"mode: expected an index of {encoder.column(part)}, found none")
    target = {"vector": query, "prefix": query[: encoder.prefix], "signs": sign_codes(query[None])[0]}[part]
    found = table.search(target, vector_column_name=encoder.column(part))
    found = found.distance_type("hamming" if part == "signs" else "cosine")
    if where is not None:
        found = found.where(where, prefilter=True)
    if options.mode == "exact":
        found = found.bypass_vector_index()
    elif indexed:
        found = found.minimum_nprobes(options.cells).maximum_nprobes(options.cells)
    if options.mode != "funnel":
        result = found.limit(options.k).select([*ROW_COLUMNS, "_distance"]).to_arrow()
        distances = result.column("_distance").to_numpy()
        return hits(result, 1 - distances / (encoder.width if part == "signs" else 1))
    limit = max(options.shortlist or SHORTLIST * options.k, options.k)
    vector = encoder.column("vector")
    result = found.limit(limit).select([*ROW_COLUMNS, vector, "_distance"]).to_arrow()
    return _resorted(result, vector, query, options.k)


def has_index(table: Any, column: str) -> bool:
    """Whether a column has an index."""
    return any(index.columns == [column] for index in table.list_indices())


def hits(result: pa.Table, similarities: NDArray) -> list[Hit]:
    """Rows of a result with their similarities (N,)."""
    rows = result.select(list(ROW_COLUMNS)).to_pylist()
    return [Hit(Row(**row), float(value)) for row, value in zip(rows, similarities, strict=True)]


def _resorted(result: pa.Table, column: str, query: NDArray, k: int) -> list[Hit]:
    """The best of a shortlist by its whole vectors."""
    if not len(result):
        return []
    vectors = result.column(column).combine_chunks().flatten().to_numpy().reshape(len(result), -1)
    candidates = torch.from_numpy(vectors.copy())
    wanted = torch.from_numpy(query)[None]
    order = NestedIndex(candidates, (len(query),)).search(wanted, k, len(query))[0]
    best = vectors[order]
    cosines = best @ query / np.linalg.norm(best, axis=1) / np.linalg.norm(query)
    return hits(result.take(pa.array(order)), cosines)
