"""Does the equivariant part know how an object is turned, and does its predictor?

Renders of objects of several parts, each in several rotations (column `rotation`; `episode` is the object). Encoders of
one size are trained on some objects and measured on four others of each class: rotations between two views, read by a
network of two hidden layers from both vectors; classes, by a linear probe; and how near to the first place the right
view of an object comes among all its views, by the code that is predicted for it. Baselines: an encoder without
training, VICReg (all of the vector shall stay the same), and SIE with the rotations of a batch shuffled, whose
predictor can know nothing. The claim of SIE (arXiv 2302.10283): what is left out of the invariant part is in the
equivariant one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.claims import BenchOptions, Claim
from representation.data.batches import BatchOrder
from representation.data.frames import LABEL, Frames, open_frames
from representation.embedding import embed
from representation.image_tower import draw_weights
from representation.interface import Loss
from representation.pretraining.sie import (
    ROTATION,
    Config,
    Projector,
    SieObjective,
    covariance_loss,
    new,
    other_views,
    prediction_ranks,
    relative_rotation,
    rotation_score,
    variance_loss,
)
from representation.probes import linear_probe

NAME = "posed"  # directory beside the renders, of `python -m sim.posed_objects`
UNTRAINED, VICREG, SHUFFLED, SPLIT = "untrained", "VICReg", "SIE with shuffled rotations", "SIE"


@dataclass(frozen=True)
class Settings:
    """How much is trained and measured.

    Attributes:
        steps: of each training.
        batch: pairs of a step.
        lr: learning rate.
        held_out: objects of each class that are not trained on.
        reading_steps: of the training of the network that reads rotations.
    """

    steps: int = 3000
    batch: int = 128
    lr: float = 1e-3
    held_out: int = 4
    reading_steps: int = 1500


class VICReg(SieObjective):
    """Two views of each object agree in all of the vector; variance and covariance as in SIE, no predictor.

    Source: VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning, Bardes et al., ICLR 2022
    (arXiv 2105.04906). Its projector is as wide as both of SIE's together.
    """

    def __init__(self, config: Config, generator: torch.Generator) -> None:
        super().__init__(config, generator)
        self.projector = Projector(config.width, 2 * config.dim, generator)

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """The loss of a batch."""
        x, y = (self.projector(self.encoder(batch[view])) for view in ("first", "second"))
        parts = {
            "invariance": F.mse_loss(x, y),
            "variance": variance_loss(x) + variance_loss(y),
            "covariance": covariance_loss(x) + covariance_loss(y),
        }
        config = self._config
        alike = config.invariance * parts["invariance"]
        return Loss(alike + config.variance * parts["variance"] + config.covariance * parts["covariance"], parts)


def objective_of(name: str, frames: Frames, seed: int) -> SieObjective:
    """What is trained under a name; all have the same encoder at first."""
    return VICReg(Config(), torch.Generator().manual_seed(seed)) if name == VICREG else new(Config(), frames, seed)


def split_classes(
    frames: Frames, held_out: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the objects to train on, and of as many held-out objects of each class."""
    labels = frames.columns[LABEL]
    chosen = [
        rng.choice(np.unique(frames.episode[labels == label]), held_out, replace=False) for label in np.unique(labels)
    ]
    is_held_out = np.isin(frames.episode, np.concatenate(chosen))
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def scores(seed: int, frames: Frames, settings: Settings) -> dict[str, float]:
    """Measures on held-out objects, by the name of the training and of the measure."""
    training, held_out = split_classes(frames, settings.held_out, np.random.default_rng(seed))
    labels, found = frames.columns[LABEL], {}
    for name in (UNTRAINED, VICREG, SHUFFLED, SPLIT):
        objective = objective_of(name, frames, seed)
        if name != UNTRAINED:
            _train(objective, frames, training, settings, seed, shuffled=name == SHUFFLED)
        encoder, config = objective.eval().encoder, Config()
        vectors, own = embed(encoder, frames), config.width - config.equivariant
        parts = {"all": slice(None), "invariant": slice(0, own), "equivariant": slice(own, None)}
        for part, columns in parts.items() if name == SPLIT else [("all", slice(None))]:
            found[f"{name}: rotation of {part}"] = turn_score(
                vectors[:, columns], frames, training, held_out, settings, seed
            )
        train, test = ((vectors[rows], labels[rows]) for rows in (training, held_out))
        found[f"{name}: class"] = linear_probe(train, test, LABEL).score
        ranks = prediction_ranks(encoder, frames.subset(held_out))
        found[f"{name}: reciprocal rank"] = float((1 / ranks).mean())
        found |= {f"{name}: in the first {k}": float((ranks <= k).mean()) for k in (1, 5)}
    return found


def _train(
    objective: nn.Module, frames: Frames, rows: NDArray[np.int64], settings: Settings, seed: int, shuffled: bool
) -> None:
    order = BatchOrder(rows, settings.batch, seed)
    optimizer = torch.optim.Adam(objective.parameters(), settings.lr, weight_decay=1e-6)
    objective.train()
    for step in range(settings.steps):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        batch = objective.batch(frames, order[step], generator)
        if shuffled:
            batch[ROTATION] = batch[ROTATION][torch.randperm(len(batch[ROTATION]), generator=generator)]
        optimizer.zero_grad()
        objective(batch).total.backward()
        optimizer.step()


def turn_score(
    vectors: NDArray,
    frames: Frames,
    fitted: NDArray[np.int64],
    scored: NDArray[np.int64],
    settings: Settings,
    seed: int,
) -> float:
    """R squared of the rotation between two views of held-out objects, read by a network fitted on the others."""
    turns, generator = torch.from_numpy(frames.columns[ROTATION]).float(), torch.Generator().manual_seed(seed)
    mean, deviation = vectors[fitted].mean(axis=0), vectors[fitted].std(axis=0)
    codes = torch.from_numpy((vectors - mean) / np.maximum(deviation, 1e-6)).float()

    def pairs(rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        other = other_views(frames, rows, generator)
        return torch.cat([codes[rows], codes[other]], dim=1), relative_rotation(turns[rows], turns[other])

    layers = [nn.Linear(2 * codes.shape[1], 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 4)]
    reader = nn.Sequential(*layers)
    draw_weights(reader, generator)
    optimizer, order = torch.optim.Adam(reader.parameters(), settings.lr), BatchOrder(fitted, settings.batch, seed)
    for step in range(settings.reading_steps):
        features, truth = pairs(order[step])
        optimizer.zero_grad()
        F.mse_loss(reader(features), truth).backward()
        optimizer.step()
    features, truth = pairs(scored)
    with torch.no_grad():
        return rotation_score(reader(features).numpy(), truth.numpy())


def chance_rank(views: int) -> float:
    """Mean reciprocal rank of a view that comes to any place among so many with the same chance."""
    return float(np.mean(1 / np.arange(1, views + 1)))


def run(options: BenchOptions) -> list[Claim]:
    """Rotations, classes and predicted views of SIE beside the baselines.

    Raises:
        FileNotFoundError: the posed objects were not drawn.
    """
    place = options.data.with_name(NAME)
    if not place.is_dir():
        raise FileNotFoundError(f"{place}: expected posed objects, see python -m sim.posed_objects, found none")
    frames, settings = open_frames(place), Settings()
    settings = replace(
        settings, steps=options.steps(settings.steps), reading_steps=options.steps(settings.reading_steps)
    )
    found = [scores(seed, frames, settings) for seed in range(options.seeds)]
    views = len(frames) // len(np.unique(frames.episode))

    def by_seed(name: str) -> tuple[float, ...]:
        return tuple(one[name] for one in found)

    def same(value: float) -> tuple[float, ...]:
        return (value,) * options.seeds

    rotation, rank = "objects: R squared of the turn between two views", f"objects: reciprocal rank among {views} views"
    chance, shuffled = chance_rank(views), by_seed(f"{SHUFFLED}: reciprocal rank")
    whole, ranks = by_seed(f"{SPLIT}: rotation of all"), by_seed(f"{SPLIT}: reciprocal rank")
    part = by_seed(f"{SPLIT}: rotation of equivariant"), by_seed(f"{SPLIT}: rotation of invariant")
    classes = len(frames.names[LABEL])
    return [
        Claim(f"{rotation}, equivariant part", "invariant part", *part, 0.05),
        Claim(rotation, UNTRAINED, whole, by_seed(f"{UNTRAINED}: rotation of all"), 0.15),
        Claim(rotation, VICREG, whole, by_seed(f"{VICREG}: rotation of all"), 0.03),
        Claim("objects: class", "chance", by_seed(f"{SPLIT}: class"), same(1 / classes), 0.7 - 1 / classes),
        Claim("objects: class, VICReg", SPLIT, by_seed(f"{VICREG}: class"), by_seed(f"{SPLIT}: class")),
        Claim(rank, "chance", ranks, same(chance), 0.27 - chance),
        *(
            Claim(
                f"objects: right view in the first {k} of {views}",
                "chance",
                by_seed(f"{SPLIT}: in the first {k}"),
                same(k / views),
            )
            for k in (1, 5)
        ),
        Claim(
            f"{rank}, shuffled rotations, distance from chance, negated",
            "none",
            _near(shuffled, chance),
            same(0.0),
            -0.03,
        ),
    ]


def _near(values: tuple[float, ...], goal: float) -> tuple[float, ...]:
    return tuple(-abs(value - goal) for value in values)
