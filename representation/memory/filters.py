"""Which rows of a memory: typed conditions, which LanceDB gets as expressions and never as text of a user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import Any

from lancedb.expr import Expr, col, lit

MAX_VALUES = 10_000  # of a list
_KINDS: dict[str, Any] = {
    **dict.fromkeys(("ids", "source", "camera", "task", "task_contains"), str),
    "episodes": int,
    **dict.fromkeys(("after", "before"), int | float),
}


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

    @classmethod
    def from_json(cls, value: object) -> Filter:
        """Conditions as a stranger gives them: an object of the names above.

        Raises:
            ValueError: an unknown name, or a value of another type.
        """
        if not isinstance(value, Mapping) or not set(value) <= set(_KINDS):
            raise ValueError(f"where: expected an object of {', '.join(_KINDS)}, found {value!r:.200}")
        conditions: dict[str, Any] = {}
        for name, given in value.items():
            kind = _KINDS[name]
            several = name in ("ids", "episodes")
            items = given if several else [given]
            fits = isinstance(items, list) and len(items) <= MAX_VALUES
            if not fits or any(isinstance(item, bool) or not isinstance(item, kind) for item in items):
                raise ValueError(f"where: {name}: expected {kind}, found {given!r:.200}")
            conditions[name] = tuple(items) if several else given
        return cls(**conditions)

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
