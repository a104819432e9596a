"""`UpgradeReport`: what an upgrade costs, and how well old and new queries find, beside full re-indexing."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from representation.compatibility.picture_encoder import labels_of
from representation.compatibility.retrieval import retrieval_cmc_map
from representation.compatibility.stored_vectors import StoredVectors
from representation.data.atomic_files import write_json
from representation.data.frames import LABEL, Frames
from representation.embedding import embed
from representation.interface import Encoder

REINDEXED = "re-indexed"


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
        cost: numbers and seconds of the upgrade and, beside them, of re-indexing.
    """

    method: str
    reason: str = ""
    others: dict[str, str] = field(default_factory=dict)
    retrieval: dict[str, dict[str, float]] = field(default_factory=dict)
    galleries: dict[str, str] = field(default_factory=dict)
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
        return rows + [f"{name:<44}{value:>12,.6g}" for name, value in self.cost.items()]

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, json.loads(json.dumps(asdict(self))))


@dataclass(frozen=True)
class Stored:
    """A memory before and after, and the pictures of what it holds.

    Attributes:
        before: as the old encoder left it.
        after: as it is searched from now on; the same where nothing is rewritten.
        frames: the pictures; None if they are gone.
    """

    before: StoredVectors
    after: StoredVectors
    frames: Frames | None = None


def measure(
    old: Encoder | None, upgraded: Encoder, new: Encoder, queries: Frames, stored: Stored | None = None
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Retrieval by query and gallery, and what each gallery was.

    The gallery is the memory where its classes, and for new vectors its pictures, are there. Else it is the queries
    themselves, of which none finds itself; for old vectors that takes an old encoder whose vectors the memory holds as
    they are.

    Args:
        old: the old encoder, if it still runs.
        upgraded: what searches from now on.
        new: the new encoder as it was given.
        queries: frames that nothing was trained on. Without classes nothing is measured.
        stored: the memory; if None, the queries are all that is searched.
    """
    if LABEL not in queries.columns:
        return {}, {}
    labels = labels_of(queries)
    vectors = {
        name: torch.from_numpy(embed(encoder, queries))
        for name, encoder in (("old", old), ("upgraded", upgraded), ("new", new))
        if encoder is not None
    }
    found: dict[str, dict[str, float]] = {}
    galleries: dict[str, str] = {}

    def add(pair: str, query: Tensor, gallery: Tensor, classes: NDArray | None) -> None:
        own = classes is None
        galleries[pair] = f"{len(gallery):,} " + ("held-out frames" if own else "entries of the memory")
        g_labels = labels if classes is None else torch.from_numpy(classes)
        found[pair] = retrieval_cmc_map(query, gallery, labels, g_labels, exclude_self=own)

    known = None if stored is None else stored.before.labels
    if stored is not None and known is not None:
        before, after = (torch.from_numpy(one.vectors) for one in (stored.before, stored.after))
        if "old" in vectors:
            add("old/old", vectors["old"], before, known)
        else:
            found["old/old"] = retrieval_cmc_map(before, before, torch.from_numpy(known), torch.from_numpy(known))
            galleries["old/old"] = f"{len(before):,} entries of the memory, which are the queries, too"
        add("new/old", vectors["upgraded"], after, known)
    elif "old" in vectors and (stored is None or stored.after is stored.before):
        for pair, query in (("old/old", "old"), ("new/old", "upgraded")):
            add(pair, vectors[query], vectors["old"], None)
    for pair, name, encoder in (("new/new", "upgraded", upgraded), (REINDEXED, "new", new)):
        if known is not None and stored.frames is not None:
            add(pair, vectors[name], torch.from_numpy(embed(encoder, stored.frames)), known)
        else:
            add(pair, vectors[name], vectors[name], None)
    return found, galleries


def seconds_to_encode(encoder: Encoder, frames: Frames, at_most: int = 256) -> float:
    """Seconds that a frame takes, measured on some."""
    rows = np.arange(min(at_most, len(frames)))
    began = time.perf_counter()
    embed(encoder, frames, rows)
    return (time.perf_counter() - began) / len(rows)
