"""Twelve encoders of renders, scored for four tasks by a few labelled pictures, beside what fine-tuning them reaches.

The pool: networks that learned nothing, or little or more without labels, from captions, or from the labels of one
factor, which is the task, or is not. The tasks: the colour, the shape and the size of an object, and in which quarter
of the table it lies. Scores and fine-tuning see the same few pictures, by `representation.select`'s own `rank`; the
truth is told by others. PED takes pictures of the pretraining as general ones. No agreement is asked for: on so small
a pool it is what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.upgrade import trained
from representation.data.frames import LABEL, Frames, open_frames
from representation.interface import Encoder
from representation.registry import module_of
from representation.select import Row, SelectOptions, agreement, rank
from representation.selection.candidates import Candidate

SIDE, PRETRAINED, GENERAL, LABELLED, TEST, TUNED = 32, 1000, 300, 200, 400, 40
TASKS = ("color", "shape", "scale", "place")


@dataclass(frozen=True)
class Course:
    """How an encoder of the pool came to be.

    Attributes:
        system: that trained it.
        steps: of Adam.
        source: factor whose values are its labels; empty for captions or none.
        settings: of the system's configuration.
    """

    system: str
    steps: int
    source: str = ""
    settings: Mapping[str, Any] | None = None


POOL = {
    "untrained": Course("mochi", 0),
    "untrained, narrow": Course("mochi", 0, settings={"width": 32}),
    "mochi, short": Course("mochi", 20),
    "mochi": Course("mochi", 80),
    "mixed_barlow_twins": Course("mixed_barlow_twins", 40),
    "mixed_barlow_twins, wide": Course("mixed_barlow_twins", 40, settings={"width": 256}),
    "clip": Course("clip", 60),
    "oca of colours": Course("oca", 100, "color"),
    "oca of shapes": Course("oca", 100, "shape"),
    "oca of places, short": Course("oca", 30, "place"),
    "d_simplex of sizes": Course("d_simplex", 100, "scale"),
    "d_simplex of colours and shapes": Course("d_simplex", 100, LABEL),
}


def factors(frames: Frames) -> dict[str, NDArray[np.int64]]:
    """Classes (N,) of each picture, by factor."""
    right, far = (frames.columns["position"] > 0).T
    known = {name: frames.columns[name].astype(np.int64) for name in ("color", "shape", "scale", LABEL)}
    return known | {"place": 2 * right.astype(np.int64) + far}


def made(course: Course, frames: Frames, seed: int, options: BenchOptions) -> Encoder:
    """The encoder of a course."""
    columns = {LABEL: factors(frames)[course.source]} if course.source else {}
    seen = Frames(frames.images, frames.episode, columns, {}, frames.texts)
    module = module_of(course.system)
    objective = module.new(module.Config(**(course.settings or {})), seen, seed)
    if not course.steps:
        return objective.encoder.eval()
    return trained(objective, seen, seed, options.steps(course.steps))


def ranked(frames: Frames, seed: int, options: BenchOptions) -> dict[str, list[Row]]:
    """The rows of all encoders, by task."""
    rows = np.random.default_rng(seed).permutation(len(frames))
    source = frames.subset(rows[:PRETRAINED])
    task = frames.subset(rows[PRETRAINED : PRETRAINED + LABELLED + TEST])
    candidates = [
        Candidate(name, course.system, made(course, source, 100 * seed + number, options))
        for number, (name, course) in enumerate(POOL.items())
    ]
    settings = SelectOptions(
        data=options.data,
        output=Path(),
        truth_steps=options.steps(TUNED),
        held_out=TEST / (LABELLED + TEST),
        seed=seed,
    )
    classes, general = factors(task), source.subset(np.arange(GENERAL))
    return {name: rank(candidates, task, classes[name], settings, general) for name in TASKS}


def run(options: BenchOptions) -> list[Claim]:
    """Agreement of each score with the truth, and what both cost, by seed.

    Raises:
        FileNotFoundError: renders were not made.
    """
    frames = open_frames(options.data, size=SIDE)
    found = [ranked(frames, seed, options) for seed in range(options.seeds)]
    agreed = [[agreement(rows, seed) for rows in one.values()] for seed, one in enumerate(found)]

    def by_seed(score: str, measure: str = "weighted_kendall") -> tuple[float, ...]:
        return tuple(float(np.mean([task[score][measure] for task in one])) for one in agreed)

    what = f"{len(POOL)} encoders, {len(TASKS)} tasks of renders, {LABELLED} labels"
    scores = [name for name in agreed[0][0] if name != "random"]
    claims = []
    for words, measure, sign in (
        ("weighted Kendall tau with fine-tuned accuracy", "weighted_kendall", 1),
        ("accuracy that its first choice lacks to the best, negated", "top1_regret", -1),
    ):
        told = {score: tuple(sign * value for value in by_seed(score, measure)) for score in (*scores, "random")}
        claims += [Claim(f"{what}: {score}: {words}", "random", told[score], told["random"], None) for score in scores]
    rows = [[row for task in one.values() for row in task] for one in found]
    tuning = tuple(-sum(row.truth.seconds for row in one) for one in rows)

    def costs(*wanted: str) -> tuple[float, ...]:
        return tuple(
            -sum(row.embed_s + sum(row.scores[name].seconds for name in wanted) for row in one) for one in rows
        )

    claims += [
        Claim(f"{what}: {score}: seconds with those of embedding, negated", "fine-tuning", costs(score), tuning)
        for score in scores
        if score in rows[0][0].scores
    ]
    return [
        *claims,
        Claim(f"{what}: seconds of all scores together, negated", "fine-tuning", costs(*rows[0][0].scores), tuning),
    ]
