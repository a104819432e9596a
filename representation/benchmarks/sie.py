"""Does the equivariant part know how an object is turned, and does its predictor?

Renders of objects of several parts, each in several rotations (column `rotation`; `episode` is the object). One
encoder is trained on some objects, and rotations between views of the others are read from each part by a ridge
regression on both vectors. Baselines: an encoder without training, the invariant part, and one trained without the
term that asks the equivariant part to turn. The claim of SIE (arXiv 2302.10283): what is left out of the invariant part
is in the equivariant one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from representation.benchmarks.claims import BenchOptions, Claim
from representation.data.batches import BatchOrder, split_frames
from representation.data.frames import Frames, open_frames
from representation.embedding import embed
from representation.pretraining.sie import (
    ROTATION,
    Config,
    SieObjective,
    new,
    other_views,
    prediction_ranks,
    relative_rotation,
    rotation_score,
)

NAME = "posed"  # directory beside the renders, of `python -m sim.posed_objects`
UNTRAINED, INVARIANCE, SPLIT = "untrained", "no equivariance term", "SIE"


@dataclass(frozen=True)
class Settings:
    """How much is trained and measured.

    Attributes:
        steps: of each training.
        batch: pairs of a step.
        lr: learning rate.
        held_out: objects that are not trained on.
    """

    steps: int = 3000
    batch: int = 128
    lr: float = 1e-3
    held_out: int = 32


def scores(seed: int, frames: Frames, settings: Settings) -> dict[str, float]:
    """R squared of rotations, read from each part, and how well views are predicted, on held-out objects."""
    training, held_out = split_frames(frames, settings.held_out, np.random.default_rng(seed))
    found = {}
    for name in (UNTRAINED, INVARIANCE, SPLIT):
        config = replace(Config(), equivariance=0.0) if name == INVARIANCE else Config()
        objective = new(config, frames, seed)
        if name != UNTRAINED:
            _train(objective, frames, training, settings, seed)
        encoder, own = objective.eval().encoder, config.width - config.equivariant
        vectors = embed(encoder, frames)
        for part, columns in (("all", slice(None)), ("invariant", slice(0, own)), ("equivariant", slice(own, None))):
            found[f"{name}: rotation of {part}"] = _rotation(vectors[:, columns], frames, training, held_out, seed)
        ranks = prediction_ranks(encoder, frames.subset(held_out))
        found[f"{name}: reciprocal rank"] = float((1 / ranks).mean())
        found[f"{name}: first"] = float((ranks == 1).mean())
    return found


def _train(objective: SieObjective, frames: Frames, rows: NDArray[np.int64], settings: Settings, seed: int) -> None:
    order = BatchOrder(rows, settings.batch, seed)
    optimizer = torch.optim.Adam(objective.parameters(), settings.lr, weight_decay=1e-6)
    objective.train()
    for step in range(settings.steps):
        batch = objective.batch(frames, order[step], torch.Generator().manual_seed(seed * 1_000_003 + step))
        optimizer.zero_grad()
        objective(batch).total.backward()
        optimizer.step()


def _rotation(
    vectors: NDArray, frames: Frames, fitted: NDArray[np.int64], scored: NDArray[np.int64], seed: int
) -> float:
    """R squared of the rotation between two views of held-out objects, read by a regression fitted on the others."""
    turns, generator = torch.from_numpy(frames.columns[ROTATION]), torch.Generator().manual_seed(seed)

    def pairs(rows: NDArray[np.int64]) -> tuple[NDArray, NDArray]:
        other = other_views(frames, rows, generator)
        both = np.concatenate([vectors[rows], vectors[other]], axis=1)
        return both, relative_rotation(turns[rows], turns[other]).numpy()

    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 4, 9))).fit(*pairs(fitted))
    features, truth = pairs(scored)
    return rotation_score(model.predict(features), truth)


def run(options: BenchOptions) -> list[Claim]:
    """R squared of rotations read from the equivariant part beside the baselines, and of predicted views.

    Raises:
        FileNotFoundError: the posed objects were not drawn.
    """
    place = options.data.with_name(NAME)
    if not place.is_dir():
        raise FileNotFoundError(f"{place}: expected posed objects, see python -m sim.posed_objects, found none")
    frames, settings = open_frames(place), Settings()
    settings = replace(settings, steps=options.steps(settings.steps))
    found = [scores(seed, frames, settings) for seed in range(options.seeds)]

    def by_seed(name: str) -> tuple[float, ...]:
        return tuple(one[name] for one in found)

    ours, rotation = by_seed(f"{SPLIT}: rotation of equivariant"), "objects: R squared of the turn between two views"
    return [
        Claim(rotation, "untrained", ours, by_seed(f"{UNTRAINED}: rotation of equivariant")),
        Claim(rotation, INVARIANCE, ours, by_seed(f"{INVARIANCE}: rotation of equivariant")),
        Claim(rotation, "its invariant part", ours, by_seed(f"{SPLIT}: rotation of invariant")),
    ]
