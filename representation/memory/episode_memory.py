"""`EpisodeMemory`: frames and episodes with vectors of several encoders.

A LanceDB database in a directory, on an object store, or with a server. Every `add` is one commit, which is there whole
or not at all, whenever the process dies. Others may read and write at the same time; each search sees the newest
commit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from lancedb.index import IvfFlat
from numpy.typing import NDArray

from representation.memory import search as searching
from representation.memory.filters import Filter
from representation.memory.schema import (
    ROW_COLUMNS,
    ROW_SCHEMA,
    TABLES,
    EncoderColumns,
    Row,
    encoders_of,
    row_table,
)
from representation.memory.search import PART, Hit, Mode, SearchOptions
from representation.memory.store import Store

MARK_TABLE = "memory"
MARK = {"format": "polyarm episode memory", "version": 2}
KEEP_VERSIONS = timedelta(hours=1)
FEWEST_INDEXED = 256  # rows; fewer are compared faster than cells are found
EVERYTHING = Filter()


class EpisodeMemory:
    """The memory at an address.

    Args:
        address: a directory, or what `store.Store` takes.
        create: whether it is made if it is not there.

    Raises:
        FileNotFoundError: there is none, and none is to be made.
        ValueError: it is something else, or of another version, or damaged.
        ConnectionError: it cannot be reached; so does every other method of a memory that is no directory.
    """

    def __init__(self, address: str | Path, create: bool = False) -> None:
        self.address = str(address)
        self._store = Store(self.address)
        is_foreign = self._store.is_foreign  # before the tables, which others may be making
        there = self._store.tables()
        if MARK_TABLE not in there:
            if there or is_foreign:
                raise ValueError(f"{address}: expected a memory, found something else: no table {MARK_TABLE!r}")
            if not create:
                raise FileNotFoundError(f"{address}: expected a memory, found none")
            self._store.begin()
        mark = self._opened(MARK_TABLE, pa.Table.from_pylist([MARK]), there)
        with self._store.told(MARK_TABLE):
            found = mark.search().limit(2).to_arrow().to_pylist()
        if found != [MARK]:
            raise ValueError(f"{address}: {MARK_TABLE}: expected {[MARK]}, found {found!r:.200}")
        # What was killed between these tables is finished by who opens it next.
        self._tables = {name: self._opened(name, ROW_SCHEMA.empty_table(), there) for name in TABLES}
        for name in TABLES:
            missing = set(ROW_SCHEMA.names) - set(self._table(name).schema.names)
            if missing:
                raise ValueError(f"{address}: {name}: expected the columns {sorted(missing)}, found none")
            self.encoders(name)

    def encoders(self, table: str) -> dict[str, EncoderColumns]:
        """The encoders whose vectors a table has columns for, by key."""
        with self._store.told(table):
            return encoders_of(self._table(table).schema)

    def register(self, encoder: EncoderColumns) -> None:
        """Make room for the vectors of an encoder in both tables.

        Raises:
            ValueError: it is there with other columns.
        """
        for name in TABLES:
            known = self.encoders(name).get(encoder.key)
            if known is None:
                known = self._register(name, encoder)
            if known != encoder:
                raise ValueError(f"{self.address}: {name}: expected {known}, as it was registered, found {encoder}")

    def add(self, table: str, rows: Sequence[Row], vectors: Mapping[str, NDArray]) -> None:
        """Commit rows with their vectors (N, D) by key of the encoder; a row that is there gets them beside the others.

        Raises:
            ValueError: no such encoder, or vectors that do not fit.
        """
        known = self.encoders(table)
        columns = {_known(known, key, f"{self.address}: {table}"): values for key, values in vectors.items()}
        content = row_table(rows, columns)
        if not len(content):
            return
        if len(set(content.column("id").to_pylist())) < len(content):
            raise ValueError("rows: expected each frame or episode once, found some twice")
        with self._store.told(table):
            merge = self._table(table).merge_insert("id")
            merge.when_matched_update_all().when_not_matched_insert_all().execute(content)

    def count(self, table: str, where: Filter = EVERYTHING, key: str = "") -> int:
        """How many rows there are; with `key`, those that have a vector of that encoder."""
        condition = self._condition(table, where, key)
        with self._store.told(table):
            return self._table(table).count_rows(condition or None)

    def rows(self, table: str, where: Filter = EVERYTHING, key: str = "", limit: int | None = None) -> list[Row]:
        """Rows, not in any order; with `key`, those that have a vector of that encoder."""
        return [Row(**row) for row in self._select(table, where, key, list(ROW_COLUMNS), limit).to_pylist()]

    def vectors(self, table: str, key: str, where: Filter = EVERYTHING) -> tuple[list[Row], NDArray[np.float32]]:
        """Rows, and their vectors (N, D) by an encoder, -1 and 1 of one whose signs alone are kept.

        Those without one are left out.
        """
        encoder = _known(self.encoders(table), key, f"{self.address}: {table}")
        found = self._select(table, where, key, [*ROW_COLUMNS, encoder.first_column])
        values = encoder.vectors(found.column(encoder.first_column).combine_chunks())
        return [Row(**row) for row in found.select(list(ROW_COLUMNS)).to_pylist()], values

    def search(
        self,
        table: str,
        key: str,
        query: NDArray,
        options: SearchOptions | None = None,
        where: Filter = EVERYTHING,
    ) -> list[Hit]:
        """The rows nearest to a vector (D,), the nearest first.

        Raises:
            ValueError: no such encoder, or see `search.search`.
        """
        encoder = _known(self.encoders(table), key, f"{self.address}: {table}")
        with self._store.told(table):
            return searching.search(self._table(table), encoder, query, options or SearchOptions(), where.expression())

    def index(self, table: str, key: str, mode: Mode) -> None:
        """Divide the vectors that a mode of search compares into cells; rows that come later are found all the same.

        Raises:
            ValueError: no such encoder, or too few rows.
        """
        encoder = _known(self.encoders(table), key, f"{self.address}: {table}")
        column = encoder.column(PART[mode])
        if mode == "exact" or column not in encoder.schema().names:
            raise ValueError(f"mode: expected one that {key} has columns for, and an index helps, found {mode}")
        count = self.count(table, key=key)
        if count < FEWEST_INDEXED:
            raise ValueError(f"{table}: expected at least {FEWEST_INDEXED} vectors to index, found {count}")
        with self._store.told(table):
            distance = "hamming" if mode == "signs" else "cosine"
            cells = IvfFlat(distance_type=distance, num_partitions=max(1, round(count**0.5)))
            self._table(table).create_index(column, config=cells)

    def delete(self, where: Filter) -> int:
        """Delete rows of both tables; returns how many.

        Raises:
            ValueError: without a condition, which would delete everything.
        """
        condition = where.expression()
        if condition is None:
            raise ValueError("delete: expected a condition, found none")
        count = 0
        for name in TABLES:
            with self._store.told(name):
                count += self._table(name).delete(condition).num_deleted_rows
        return count

    def forget(self, key: str) -> None:
        """Drop the vectors of an encoder from both tables; the rows stay.

        Raises:
            ValueError: no such encoder.
        """
        for name in TABLES:
            encoder = _known(self.encoders(name), key, f"{self.address}: {name}")
            with self._store.told(name):
                self._table(name).drop_columns(encoder.schema().names)

    def compact(self, keep: timedelta = KEEP_VERSIONS) -> None:
        """Join small files, bring the indices up to date and drop what only versions older than `keep` hold.

        Who reads at the time must end within `keep`.
        """
        for name in TABLES:
            with self._store.told(name):
                self._table(name).optimize(cleanup_older_than=keep)

    def size(self) -> int:
        """Bytes that the rows and vectors of both tables take, as new as they are."""
        total = 0
        for name in TABLES:
            with self._store.told(name):
                total += self._table(name).stats()["total_bytes"]
        return total

    def schema(self, table: str) -> Any:
        """The columns of a table, as Arrow tells them."""
        with self._store.told(table):
            return self._table(table).schema

    def batches(self, table: str) -> Iterator[Any]:
        """All of a table, as record batches of Arrow."""
        with self._store.told(table):
            yield from self._table(table).search().to_batches()

    def _register(self, table: str, encoder: EncoderColumns) -> EncoderColumns:
        """The columns of an encoder, made here or by another who was faster."""
        try:
            with self._store.told(table):
                self._table(table).add_columns(encoder.schema())
        except (ValueError, ConnectionError):
            known = self.encoders(table).get(encoder.key)
            if known is None:
                raise
            return known
        return encoder

    def _select(self, table: str, where: Filter, key: str, columns: list[str], limit: int | None = None) -> Any:
        condition = self._condition(table, where, key)
        with self._store.told(table):
            query = self._table(table).search()
            if condition:
                query = query.where(condition)
            return query.limit(limit).select(columns).to_arrow()

    def _condition(self, table: str, where: Filter, key: str) -> str:
        """SQL of a filter, escaped by LanceDB, and of having a vector, whose column's name is a checked key."""
        expression = where.expression()
        parts = [] if expression is None else [expression.to_sql()]
        if key:
            encoder = _known(self.encoders(table), key, f"{self.address}: {table}")
            parts.append(f"{encoder.first_column} IS NOT NULL")
        return " AND ".join(f"({part})" for part in parts)

    def _opened(self, name: str, content: pa.Table, there: set[str]) -> Any:
        return self._store.open(name) if name in there else self._store.create(name, content)

    def _table(self, name: str) -> Any:
        if name not in TABLES:
            raise ValueError(f"table: expected one of {', '.join(TABLES)}, found {name!r}")
        return self._tables[name]


def _known(encoders: Mapping[str, EncoderColumns], key: str, where: str) -> EncoderColumns:
    if key not in encoders:
        raise ValueError(f"{where}: expected vectors of one of {sorted(encoders)}, found {key!r} asked for")
    return encoders[key]
