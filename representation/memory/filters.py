"""Which rows of a memory: typed conditions, which LanceDB gets as expressions and never as text of a user."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import and_

from lancedb.expr import Expr, col, lit


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions that all must hold; those left out always do.

    Attributes:
        ids: names of rows.
        source: path of the dataset or bag.
        camera: name.
        episodes: numbers.
        task: the whole sentence.
        task_contains: a part of it, in any case of letters.
        after: s, `Row.time` at least.
        before: s, `Row.time` at most.
    """

    ids: tuple[str, ...] = ()
    source: str = ""
    camera: str = ""
    episodes: tuple[int, ...] = ()
    task: str = ""
    task_contains: str = ""
    after: float | None = None
    before: float | None = None

    def expression(self) -> Expr | None:
        """What LanceDB understands; None if every row will do."""
        parts = [col(name) == lit(value) for name in ("source", "camera", "task") if (value := getattr(self, name))]
        if self.ids:
            parts.append(col("id").isin(list(self.ids)))
        if self.episodes:
            parts.append(col("episode").isin(list(self.episodes)))
        if self.task_contains:
            parts.append(col("task").lower().contains(lit(self.task_contains.lower())))
        if self.after is not None:
            parts.append(col("time") >= lit(float(self.after)))
        if self.before is not None:
            parts.append(col("time") <= lit(float(self.before)))
        return reduce(and_, parts) if parts else None
