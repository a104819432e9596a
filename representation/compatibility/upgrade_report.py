"""`UpgradeReport`: what an upgrade costs, and how well old and new queries find, beside full re-indexing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from representation.compatibility.picture_encoder import labels_of
from representation.compatibility.retrieval import mean_reciprocal_rank, retrieval_cmc_map
from representation.compatibility.stored_vectors import StoredVectors
from representation.data.atomic_files import write_json
from representation.data.frames import LABEL, Frames
from representation.embedding import embed
from representation.interface import Encoder

OLD, ACROSS, NEW, REINDEXED = "old/old", "new/old", "new/new", "re-indexed"


Carry = Callable[[Tensor], Tensor]
"""Vectors (N, D) of an old encoder to what is stored of it from now on."""


def as_they_are(vectors: Tensor) -> Tensor:
    """The same vectors: what is done to old ones where a memory stays as it is."""
    return vectors


@dataclass(frozen=True)
class UpgradeReport:
    """What was done, and what came of it.

    Attributes:
        method: the path.
        reason: why it was taken.
        others: why not each of the others.
        retrieval: measures of `retrieval_cmc_map` by query and gallery: "old/old", "new/old", "new/new", and
            "re-indexed", where the new encoder, as it was given, has encoded everything anew.
        galleries: what was searched, by the same names.
        found_again: mean reciprocal rank of a held-out frame among old vectors of all of them, asked by its new one;
            needs no classes. None without an old encoder, or where nothing old is searched.
        cost: numbers and seconds of the upgrade and, beside them, of re-indexing.
    """

    method: str
    reason: str = ""
    others: dict[str, str] = field(default_factory=dict)
    retrieval: dict[str, dict[str, float]] = field(default_factory=dict)
    galleries: dict[str, str] = field(default_factory=dict)
    found_again: float | None = None
    cost: dict[str, float] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """A table for people."""
        rows = [f"path: {self.method}" + (f", since {self.reason}" if self.reason else "")]
        rows += [f"  not {path}: {why}" for path, why in self.others.items()]
        if self.retrieval:
            rows.append(f"{'query/gallery':<16}{'top1':>8}{'top5':>8}{'mAP':>8}  gallery")
        for pair, found in self.retrieval.items():
            numbers = "".join(f"{found[name]:>8.3f}" for name in ("top1", "top5", "mAP"))
            rows.append(f"{pair:<16}{numbers}  {self.galleries[pair]}")
        if self.found_again is not None:
            rows.append(f"{'held-out frames found again, reciprocal rank':<44}{self.found_again:>12,.3f}")
        return rows + [f"{name:<44}{value:>12,.6g}" for name, value in self.cost.items()]

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, asdict(self))


@dataclass(frozen=True)
class Stored:
    """A memory before and after, and the pictures of what it holds.

    Attributes:
        before: as the old encoder left it.
        after: as it is searched from now on; the same where nothing is rewritten.
        frames: the pictures; None if they are gone.
        carried: what is done to vectors (N, D) of the old encoder, so that they are as in `after`; None where they are
            not used any more.
    """

    before: StoredVectors
    after: StoredVectors
    frames: Frames | None = None
    carried: Carry | None = as_they_are


class Measurement:
    """Searches held-out frames in old and new galleries.

    A gallery is the memory where its classes, and for new vectors its pictures, are there. Else it is the held-out
    frames themselves, of which none finds itself; for old vectors that takes the old encoder.

    Args:
        old: the old encoder, if it still runs.
        upgraded: what searches from now on.
        new: the new encoder as it was given.
        queries: frames that nothing was trained on. Without classes only `found_again` is measured.
        stored: the memory; if None, the queries are all that is searched.
    """

    def __init__(
        self, old: Encoder | None, upgraded: Encoder, new: Encoder, queries: Frames, stored: Stored | None = None
    ) -> None:
        self.retrieval: dict[str, dict[str, float]] = {}
        self.galleries: dict[str, str] = {}
        self.found_again: float | None = None
        carry = as_they_are if stored is None else stored.carried
        asked, given = (torch.from_numpy(embed(encoder, queries)) for encoder in (upgraded, new))
        before = None if old is None else torch.from_numpy(embed(old, queries))
        carried = None if before is None or carry is None else carry(before)
        if carried is not None:
            self.found_again = mean_reciprocal_rank(asked, carried)
        if LABEL not in queries.columns:
            return
        self._labels = labels_of(queries)
        if stored is None or stored.before.labels is None:
            if before is not None and carried is not None:
                self._add(OLD, before, before)
                self._add(ACROSS, asked, carried)
            self._add(NEW, asked, asked)
            self._add(REINDEXED, given, given)
            return
        known = torch.from_numpy(stored.before.labels)
        entries, after = (torch.from_numpy(one.vectors) for one in (stored.before, stored.after))
        if before is None:
            self.retrieval[OLD] = retrieval_cmc_map(entries, entries, known, known)
            self.galleries[OLD] = f"{len(entries):,} entries of the memory, which are the queries, too"
        else:
            self._add(OLD, before, entries, known)
        self._add(ACROSS, asked, after, known)
        for pair, query, encoder in ((NEW, asked, upgraded), (REINDEXED, given, new)):
            if stored.frames is None:
                self._add(pair, query, query)
            else:
                self._add(pair, query, torch.from_numpy(embed(encoder, stored.frames)), known)

    def _add(self, pair: str, query: Tensor, gallery: Tensor, classes: Tensor | None = None) -> None:
        is_own = classes is None
        self.galleries[pair] = f"{len(gallery):,} " + ("held-out frames" if is_own else "entries of the memory")
        labels = self._labels if classes is None else classes
        self.retrieval[pair] = retrieval_cmc_map(query, gallery, self._labels, labels, exclude_self=is_own)


def seconds_to_encode(encoder: Encoder, frames: Frames, at_most: int = 256) -> float:
    """Seconds that a frame takes, measured on some."""
    rows = np.arange(min(at_most, len(frames)))
    began = time.perf_counter()
    embed(encoder, frames, rows)
    return (time.perf_counter() - began) / len(rows)
