"""Does pretraining help an encoder of clouds, and does a teacher of pictures? Eight shapes, each seen from one side.

Encoders are pretrained on clouds without labels, and read by a linear support vector machine that is fitted on few.
Compared: no pretraining (an encoder of the same size, its norms adapted to the clouds), restoring coordinates alone,
and restoring also what a teacher sees. The teacher is a small CLIP that was trained on depth pictures of heaps of two
or three simple parts with captions that name the parts; it has never seen the shapes nor their names.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations_with_replacement

import numpy as np
import torch
from sklearn.svm import SVC
from torch import nn

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.short_training import train_shortly
from representation.data.batches import BatchOrder
from representation.data.clouds import clouds, unit_sphere
from representation.data.frames import LABEL, POINTS, Frames
from representation.data.shapes import box, moved, ring, seen_cloud, shapes, sphere, tube
from representation.embedding import embed
from representation.pretraining.clip import pretraining as clip
from representation.pretraining.i2p_mae import Config
from representation.pretraining.i2p_mae.model import I2PMAE
from representation.pretraining.i2p_mae.views import project_views
from representation.training import decay_groups

NO_PRETRAINING, COORDINATES, GUIDED = "no pretraining", "coordinates alone", "coordinates and a teacher"
WEIGHT_DECAY, STRENGTH = 0.05, 0.01  # of the pretraining; of the support vector machine
_PARTS = {
    "ball": lambda a, b: sphere(a),
    "block": lambda a, b: box((a, b, a)),
    "rod": lambda a, b: tube(0.5 * a, b),
    "cone": lambda a, b: tube(a, b, top=0.02),
    "ring": lambda a, b: ring(a, 0.3 * b),
}


@dataclass(frozen=True)
class Settings:
    """How much is trained and measured.

    Attributes:
        unlabelled: clouds to pretrain on.
        labelled: clouds to fit on.
        test: clouds to score on.
        steps: of each pretraining.
        batch: clouds of a step.
        lr: peak learning rate.
        scenes: pictures that the teacher learns from.
        teacher_steps: of its training.
    """

    unlabelled: int = 800
    labelled: int = 160
    test: int = 320
    steps: int = 400
    batch: int = 32
    lr: float = 1e-3
    scenes: int = 2000
    teacher_steps: int = 600


def run(options: BenchOptions) -> list[Claim]:
    """What pretraining adds to the support vector machine's accuracy, and the teacher to that."""
    settings = Settings(steps=options.steps(Settings.steps), teacher_steps=options.steps(Settings.teacher_steps))
    found = [scores(seed, settings) for seed in range(options.seeds)]
    none, alone, guided = (tuple(one[name] for one in found) for name in (NO_PRETRAINING, COORDINATES, GUIDED))
    task = f"accuracy of a linear SVM, {settings.labelled} one-sided clouds of eight shapes"
    return [
        Claim(f"{task}: restoring coordinates", NO_PRETRAINING, alone, none, least=0.03),
        Claim(f"{task}: restoring what a teacher sees, too", COORDINATES, guided, alone, least=-0.01),
    ]


def scores(seed: int, settings: Settings) -> dict[str, float]:
    """Accuracy of the support vector machine on encoders of each kind."""
    config = Config(view_size=64, temperature=0.5)
    frames, fitted, scored = (
        shapes(count, config.points, 3 * seed + number)
        for number, count in enumerate((settings.unlabelled, settings.labelled, settings.test))
    )
    found = {}
    for name in (NO_PRETRAINING, COORDINATES, GUIDED):
        teacher = trained_teacher(settings, config.view_size, seed) if name == GUIDED else None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            objective = I2PMAE(config, teacher)
        if name == NO_PRETRAINING:
            _adapt_norms(objective, frames, settings.batch)
        else:
            _train(objective, frames, settings.steps, settings, seed)
        found[name] = _accuracy(objective.eval(), fitted, scored)
    return found


def trained_teacher(settings: Settings, size: int, seed: int) -> nn.Module:
    """A small CLIP that knows depth pictures of heaps of parts."""
    rng = np.random.default_rng((seed, 7))
    kinds = list(combinations_with_replacement(_PARTS, 2)) + list(combinations_with_replacement(_PARTS, 3))
    images, texts = [], []
    for number in range(settings.scenes):
        names = kinds[number % len(kinds)]
        parts = [moved(_PARTS[name](*rng.uniform(0.2, 0.5, 2)), rng.uniform(-0.5, 0.5, 3)) for name in names]
        points = torch.from_numpy(seen_cloud(parts, 512, rng))[None]
        view = project_views(unit_sphere(points)[0], size)[0][0, rng.integers(3)]
        images.append((view.numpy() * 255).round().astype(np.uint8))
        texts.append("a picture of " + " and ".join(f"a {name}" for name in names))
    pictures = np.repeat(np.stack(images)[..., None], 3, axis=3)
    frames = Frames(pictures, np.arange(len(pictures)), {}, {}, texts)
    objective = clip.new(clip.Config(resolution=size, patch=8, vision_width=64, blocks=3), frames, seed)
    _train(objective, frames, settings.teacher_steps, replace(settings, batch=64), seed)
    return objective.encoder


def _train(objective: nn.Module, frames: Frames, steps: int, settings: Settings, seed: int) -> None:
    order = BatchOrder(np.arange(len(frames)), settings.batch, seed)
    optimizer = torch.optim.AdamW(decay_groups(objective, WEIGHT_DECAY), lr=settings.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.lr, steps, pct_start=0.1)
    objective.train()
    train_shortly(objective, frames, order, optimizer, schedule, steps, seed)


@torch.no_grad()
def _adapt_norms(objective: I2PMAE, frames: Frames, batch: int) -> None:
    """Let the batch norms of an untrained encoder see the clouds once."""
    objective.train()
    for start in range(0, len(frames.columns[POINTS]) - batch + 1, batch):
        objective.encoder.encode(clouds(frames, np.arange(start, start + batch)))


def _accuracy(objective: I2PMAE, fitted: Frames, scored: Frames) -> float:
    vectors = [embed(objective.encoder, frames) for frames in (fitted, scored)]
    model = SVC(kernel="linear", C=STRENGTH).fit(vectors[0], fitted.columns[LABEL])
    return float(model.score(vectors[1], scored.columns[LABEL]))
