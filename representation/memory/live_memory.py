"""`LiveMemory`: what a robot sees goes into a memory as it comes, and requests are answered out of it.

A percept is JSON with `stamp` (seconds), `encoder` (its key), `camera` and `vector` (see `vector_text`). A request is
JSON with one of `text`, `state` (JSON), `vector`, `like` (id of a row) or `now` (true: the newest percept); and where
wanted `id` (comes back), `k`, `mode`, `shortlist`, `cells`, `episodes` (true) and `where` (see `Filter`). The answer
has `id`, and `hits` or `error`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from representation.interface import DocumentEncoder, Encoder
from representation.memory import queries
from representation.memory.episode_memory import EpisodeMemory
from representation.memory.filters import Filter
from representation.memory.schema import EPISODES, FRAMES, Row
from representation.memory.search import SearchOptions
from representation.vector_text import from_text

KINDS = ("text", "state", "vector", "like", "now")
OPTIONS = ("k", "mode", "shortlist", "cells")
MAX_REQUEST = 2_000_000  # characters
MAX_HITS = 1000
MAX_WAITING = 20_000  # percepts, while the memory cannot be reached


class Named(NamedTuple):
    """An encoder and its key."""

    key: str
    encoder: Encoder | DocumentEncoder


class LiveMemory:
    """Writes and searches; belongs to one thread.

    Args:
        memory: where the encoders are registered.
        seen: the encoder whose percepts come.
        states: an encoder of JSON, for requests of states; None if there is none.
        source: path of the bag that is being recorded, or any other name of where percepts come from.
    """

    def __init__(self, memory: EpisodeMemory, seen: Named, states: Named | None = None, source: str = "live") -> None:
        self._memory, self._seen, self._states, self._source = memory, seen, states, source
        self._columns = memory.encoders(FRAMES)[seen.key]
        self._waiting: dict[str, list[tuple[Row, NDArray[np.float32]]]] = {FRAMES: [], EPISODES: []}
        self._newest: NDArray[np.float32] | None = None
        self._newest_frame = -1
        self._task = ""
        self._first: Row | None = None  # of the episode
        self._length, self._directions = 0, np.zeros(self._columns.width, np.float32)

    @property
    def waiting(self) -> int:
        """Percepts that are not committed yet."""
        return len(self._waiting[FRAMES])

    def take(self, text: str) -> None:
        """Keep a percept until `flush`; one with the stamp of the one before is the same and is passed over.

        Raises:
            ValueError: it is damaged, or of another encoder, or too many wait.
        """
        if self.waiting >= MAX_WAITING:
            raise ValueError(f"percept: expected a memory that takes percepts, found {self.waiting} that wait for it")
        content = _object(text, "percept")
        stamp, camera = content.get("stamp", math.nan), content.get("camera", "")
        if content.get("encoder") != self._seen.key:
            raise ValueError(f"encoder: expected percepts of {self._seen.key}, found {content.get('encoder')!r:.100}")
        if type(stamp) not in (int, float) or not math.isfinite(stamp) or not 0 <= stamp < 9e9:
            raise ValueError(f"stamp: expected seconds from 0 to 9e9, found {stamp!r:.100}")
        if not isinstance(camera, str):
            raise ValueError(f"camera: expected a name, found {camera!r:.100}")
        vector = self._columns.checked(from_text(content.get("vector"))[None])[0]
        frame = round(stamp * 1e9)
        if frame == self._newest_frame:
            return
        episode = frame if self._first is None else self._first.episode
        row = Row(self._source, camera, episode, frame, float(stamp), 1, self._task)
        self._first = self._first or row
        self._waiting[FRAMES].append((row, vector))
        self._newest, self._newest_frame = vector, frame
        self._directions += vector / np.linalg.norm(vector)
        self._length += 1

    def begin(self, task: str) -> None:
        """Another episode begins; the one before is committed as a whole.

        Raises:
            ConnectionError: see `flush`; the other episode has begun.
        """
        self._close()
        self._task = task
        self.flush()

    def flush(self) -> int:
        """Commit what waits; returns how many percepts that were.

        Raises:
            ConnectionError: the memory cannot be reached; what waits is kept for the next time.
        """
        count = self.waiting
        for table, waiting in self._waiting.items():
            if waiting:
                # A clock that jumped back may bring stamps again; the newer percept counts.
                rows, vectors = zip(*{row.id: (row, vector) for row, vector in waiting}.values(), strict=True)
                self._memory.add(table, rows, {self._seen.key: np.stack(vectors)})
                waiting.clear()
        return count

    def end(self) -> None:
        """Commit all of the episode that runs, if one does.

        Raises:
            ConnectionError: see `flush`.
        """
        self._close()
        self.flush()

    def _close(self) -> None:
        if self._first is not None and self._newest is not None:
            row = replace(self._first, frame=0, length=self._length)
            # As `sources.episode_vector` has it.
            whole = self._newest if self._columns.modality == "clip" else self._directions / self._length
            self._waiting[EPISODES].append((row, whole))
        self._first, self._length, self._directions = None, 0, np.zeros_like(self._directions)

    def answer(self, text: str) -> str:
        """The answer to a request, both JSON; what is wrong with it is told in `error`."""
        name: Any = None
        try:
            request = _object(text, "request")
            name = request.get("id")
            return json.dumps({"id": name, "hits": self._hits(request)})
        except (ValueError, TypeError, ConnectionError) as error:
            return json.dumps({"id": name if isinstance(name, str | int) else None, "error": str(error)})

    def _hits(self, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        unknown = set(request) - {"id", "episodes", "where", *KINDS, *OPTIONS}
        if unknown:
            raise ValueError(f"request: expected {', '.join(KINDS)} and options, found {sorted(unknown)}")
        kind = queries.asked({name: request.get(name) for name in KINDS})
        table = EPISODES if request.get("episodes") is True else FRAMES
        options = SearchOptions(**{name: request[name] for name in OPTIONS if name in request})
        if options.k > MAX_HITS:
            raise ValueError(f"k: expected at most {MAX_HITS}, found {options.k}")
        self.flush()  # what was just seen can be found
        key, query = self._query(kind, request[kind], table)
        found = self._memory.search(table, key, query, options, Filter.from_json(request.get("where", {})))
        return [{"id": hit.row.id, "similarity": hit.similarity, **asdict(hit.row)} for hit in found]

    def _query(self, kind: str, value: Any, table: str) -> tuple[str, NDArray[np.float32]]:
        if kind == "state":
            if self._states is None:
                raise ValueError("state: expected an encoder of JSON, found none")
            return self._states.key, queries.state_vector(self._states.encoder, value)
        if kind == "vector":
            return self._seen.key, from_text(value)
        if kind == "now":
            if value is not True or self._newest is None:
                raise ValueError("now: expected true, and a percept before it, found none")
            return self._seen.key, self._newest
        if not isinstance(value, str):
            raise ValueError(f"{kind}: expected a text, found {value!r:.100}")
        if kind == "text":
            return self._seen.key, queries.text_vector(self._seen.encoder, value)
        rows, vectors = self._memory.vectors(table, self._seen.key, Filter(ids=(value,)))
        if not rows:
            raise ValueError(f"like: expected the id of a row with a vector of {self._seen.key}, found {value!r:.100}")
        return self._seen.key, vectors[0]


def _object(text: str, what: str) -> dict[str, Any]:
    if len(text) > MAX_REQUEST:
        raise ValueError(f"{what}: expected at most {MAX_REQUEST} characters, found {len(text)}")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what}: expected JSON, found {text[:100]!r}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{what}: expected a JSON object, found {text[:100]!r}")
    return content
