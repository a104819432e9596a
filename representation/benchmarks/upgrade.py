"""Four ways to replace the encoder of a memory of renders, beside old queries and full re-indexing.

Renders of objects on a table; the colour is the class. The memory was filled by an encoder that was trained on half of
the colours; the new one is trained on all. Queries were seen by nobody. Each path gets what it needs
and no more: prototypes, both encoders, anchors, or a version under the same simplex.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from representation.benchmarks.claims import BenchOptions, Claim
from representation.compatibility import d_simplex, oca, upgrading
from representation.compatibility.relative_representations import RelativeEncoder
from representation.compatibility.stored_vectors import VectorFile
from representation.compatibility.upgrade_report import REINDEXED, Measurement, Stored
from representation.data.batches import BatchOrder
from representation.data.frames import LABEL, Frames, open_frames
from representation.embedding import embed
from representation.interface import Encoder

SIDE, WIDTH, DIM, EXTRA, VERTICES, ANCHORS = 32, 64, 32, 8, 32, 100
MEMORY, QUERIES = 800, 400
STEPS, BATCH, LR = 120, 32, 1e-3


def trained(objective: Any, frames: Frames, seed: int, steps: int) -> Encoder:
    """The encoder of an objective after some steps of Adam."""
    order, optimizer = BatchOrder(np.arange(len(frames)), BATCH, seed), torch.optim.Adam(objective.parameters(), LR)
    objective.train()
    for step in range(steps):
        batch = objective.batch(frames, order[step], torch.Generator().manual_seed(seed * 1_000_003 + step))
        optimizer.zero_grad()
        objective(batch).total.backward()
        optimizer.step()
    return objective.encoder.eval()


def measures(frames: Frames, seed: int, steps: int) -> dict[str, dict[str, float]]:
    """MAP by path and pair of query and gallery."""
    rows = np.random.default_rng(seed).permutation(len(frames))
    past, queries, training = (frames.subset(part) for part in np.split(rows, [MEMORY, MEMORY + QUERIES]))
    labels = training.columns[LABEL]
    known = training.subset(np.flatnonzero(labels <= labels.max() // 2))
    first = oca.Config(width=WIDTH, dim=DIM)
    old = trained(oca.new(first, known, seed), known, seed, steps)
    new = trained(oca.new(first, training, seed + 100), training, seed + 100, steps)
    memory = VectorFile(embed(old, past), past.episode, past.columns[LABEL])
    found = {}

    def add(path: str, before: Encoder, upgraded: Encoder, stored: Stored) -> None:
        measured = Measurement(before, upgraded, new, queries, stored)
        found[path] = {pair: numbers["mAP"] for pair, numbers in measured.retrieval.items()}

    for method in ("oca", "bt2"):
        backbone = upgrading.copy_of(new, training=True)
        objective = upgrading.new_objective(method, training, seed, backbone, old, extra_dims=EXTRA)
        add(method, old, trained(objective, training, seed, steps), Stored(memory, memory, past))
    anchors = training.pixels(np.arange(ANCHORS))
    before, after = (RelativeEncoder(one, anchors, center=True).eval() for one in (old, new))
    with torch.no_grad():
        coordinates = before.project(torch.from_numpy(memory.vectors)).numpy()
    add("relative_representations", old, after, Stored(memory, memory.rewritten(coordinates), past, before.project))
    simplex = d_simplex.Config(width=WIDTH, num_classes=VERTICES)
    planned = trained(d_simplex.new(simplex, known, seed), known, seed, steps)
    later = trained(d_simplex.new_after(simplex, training, seed, planned), training, seed, steps)
    stored = memory.rewritten(embed(planned, past))
    add("d_simplex", planned, later, Stored(stored, stored, past))
    return found


def run(options: BenchOptions) -> list[Claim]:
    """New queries in the old memory beside old ones, and in a new memory beside full re-indexing, by path."""
    renders = open_frames(options.data, size=SIDE)
    frames = Frames(renders.images, renders.episode, {LABEL: renders.columns["color"]})
    found = [measures(frames, seed, options.steps(STEPS)) for seed in range(options.seeds)]

    def by_seed(path: str, pair: str) -> tuple[float, ...]:
        return tuple(one[path][pair] for one in found)

    return [
        Claim(f"renders: mAP, {path}, {pair}", baseline, by_seed(path, pair), by_seed(path, baseline))
        for path in found[0]
        for pair, baseline in (("new/old", "old/old"), ("new/old", REINDEXED), ("new/new", REINDEXED))
    ]
