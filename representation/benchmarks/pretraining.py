"""All systems of `pretraining/` but three in one table: what pretraining on simulated pictures adds to each encoder.

Every system is pretrained, by the command and with the settings of `representation.pretrain`, on what it takes: renders
of one object, the clouds of such objects, objects in known rotations, or narrated episodes. Vectors of held-out objects
or episodes are then read as `representation.probe` reads them, beside those of the same encoder before the training and
beside the raw pixels of the (last) picture. Of all systems, only `matryoshka` is trained with the labels that are read.
`segmentation`, `madeleine` and `customcontrast` need more than pictures and have their own benchmarks.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from representation.benchmarks.claims import BenchOptions, Claim
from representation.data.batches import split_frames
from representation.data.frames import LABEL, Frames, open_frames
from representation.embedding import embed
from representation.interface import Encoder
from representation.pretrain import PretrainConfig, new_run
from representation.probe import raw_pixels
from representation.probes import knn_probe, ridge_probe
from representation.registry import load_encoder, module_of

HELD_OUT = 0.3  # of the episodes
PROBED = 1000  # frames at most, fitted and scored each


@dataclass(frozen=True)
class Course:
    """How a system is pretrained and read.

    Attributes:
        data: directory beside the renders.
        target: column that is read: by neighbours if it is numbered, else by ridge regression.
        steps: of the training.
        batch: frames of a step.
        size: side that pictures are brought to, pixels; 0 keeps them.
    """

    data: str
    target: str = LABEL
    steps: int = 300
    batch: int = 64
    size: int = 0


COURSES = {
    "clip": Course("renders"),
    "geodesic_mixup": Course("renders"),
    "mochi": Course("renders"),
    "mixed_barlow_twins": Course("renders"),
    "matryoshka": Course("renders"),
    "sie": Course("posed"),
    "i2p_mae": Course("clouds", "shape", batch=32),
    "tvts": Course("narrated", "progress", batch=16, size=32),
}


def probe(vectors: NDArray, frames: Frames, rows: tuple[NDArray[np.int64], NDArray[np.int64]], target: str) -> float:
    """How well a column is read from vectors (N, D) of frames, fitted on the first rows and scored on the second."""
    read = knn_probe if target in frames.names else ridge_probe
    fitted, scored = ((vectors[part], frames.columns[target][part]) for part in rows)
    return read(fitted, scored, target).score


def scores(name: str, frames: Frames, course: Course, steps: int, seed: int) -> dict[str, float]:
    """Probes of a system after and before its training, and of raw pixels."""
    training, held_out = split_frames(
        frames, round(HELD_OUT * len(np.unique(frames.episode))), np.random.default_rng(seed)
    )
    module, rng = module_of(name), np.random.default_rng(seed)
    rows = tuple(np.sort(rng.permutation(part)[:PROBED]) for part in (training, held_out))
    probed = np.concatenate(rows)
    seen, places = frames.subset(probed), (np.arange(len(rows[0])), np.arange(len(rows[0]), len(probed)))

    def read(encoder: Encoder) -> float:
        return probe(embed(encoder, frames, probed), seen, places, course.target)

    found = {"raw pixels": probe(raw_pixels(seen), seen, places, course.target)}
    found["random initialisation"] = read(module.new(module.Config(), frames, seed).encoder.eval())
    with tempfile.TemporaryDirectory() as directory:
        config = PretrainConfig(
            output=Path(directory) / "run",
            system=name,
            data=Path(course.data),
            steps=steps,
            batch_size=course.batch,
            warmup_steps=min(50, steps),
            average_decay=0.98,
            seed=seed,
        )
        config.output.mkdir()
        run = new_run(config, frames.subset(training))
        run.train()
        run.end()
        found["pretrained"] = read(load_encoder(config.output))
    return found


def run(options: BenchOptions) -> list[Claim]:
    """What is read from each system's vectors, beside random initialisation and raw pixels.

    Raises:
        FileNotFoundError: pictures were not made; names them.
    """
    claims = []
    for name, course in COURSES.items():
        frames = open_frames(options.data.with_name(course.data), size=course.size)
        found = [scores(name, frames, course, options.steps(course.steps), seed) for seed in range(options.seeds)]
        what = f"{name} on {course.data}: {course.target}"
        ours = tuple(one["pretrained"] for one in found)
        claims += [
            Claim(f"{what}", other, ours, tuple(one[other] for one in found))
            for other in ("random initialisation", "raw pixels")
        ]
    return claims
