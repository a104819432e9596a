"""From depth to grasps: are encoders that know rotations better where objects lie in poses that training did not have?

Clouds out of the simulation (`sim.object_clouds`): encoders learn from objects that stand upright to tell class,
normals, the approach to the handle and the 6-D pose, from 1, 10 and 100 % of the clouds, in as many steps. They are
tested on other objects of the same classes: upright, the same clouds after any turn of the camera, and lying in any
pose. Compared with a PointNet of more weights than each, as it is and trained on randomly turned clouds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.point_net import PointNet, PointNetConfig
from representation.benchmarks.short_training import train_shortly
from representation.data.batches import BatchOrder
from representation.data.frames import LABEL, Frames, open_frames
from representation.equivariant import frame_averaging, gaunt_tensor_product, ponita
from representation.equivariant.cloud_encoder import CloudObjective, new_objective
from representation.equivariant.cloud_report import errors_on
from representation.equivariant.cloud_targets import APPROACH, CENTER, NORMALS, ROTATION

DATA, FREEDOM = "grasp_clouds", "freedom"
SHARES = (0.01, 0.1, 1.0)
PONITA, GAUNT, FRAMES = "PONITA", "Gaunt", "frame averaging"
PLAIN, TURNED = "PointNet", "PointNet, turned in training"
OURS = (PONITA, GAUNT, FRAMES)
UPRIGHT, TURN, ANY = "upright", "turned cameras", "any pose"
UNITS = {ROTATION: "deg", APPROACH: "deg", NORMALS: "deg", CENTER: "mm", LABEL: "share wrong"}


@dataclass(frozen=True)
class Settings:
    """How much is trained and measured.

    Attributes:
        held_out: objects of each class that are tested on.
        tests: clouds of each test.
        steps: of training.
        batch: clouds of a step.
        lr: peak learning rate.
    """

    held_out: int = 10
    tests: int = 120
    steps: int = 400
    batch: int = 16
    lr: float = 5e-3


POINTS = 32  # of a cloud, for all networks
MAKERS: dict[str, Callable[[Frames, int], CloudObjective]] = {
    PONITA: lambda frames, seed: ponita.new(ponita.Config(points=POINTS, anchors=2, hidden=16, layers=2), frames, seed),
    GAUNT: lambda frames, seed: gaunt_tensor_product.new(
        gaunt_tensor_product.Config(points=POINTS, anchors=2), frames, seed
    ),
    FRAMES: lambda frames, seed: frame_averaging.new(
        frame_averaging.Config(points=POINTS, neighbours=16, widths=(32, 64, 64), head=(64, 32)), frames, seed
    ),
    PLAIN: lambda frames, seed: new_objective(PointNet, PointNetConfig(points=POINTS), frames, seed, turn=False),
    TURNED: lambda frames, seed: new_objective(PointNet, PointNetConfig(points=POINTS), frames, seed, turn=True),
}


def run(options: BenchOptions) -> list[Claim]:
    """Errors with their signs changed; what is claimed is of turned cameras and all of the data.

    Raises:
        FileNotFoundError: clouds were not made; names the command.
    """
    path = options.data.with_name(DATA)
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: expected clouds, make them by python -m sim.object_clouds --output {path}")
    frames, settings = open_frames(path), Settings(steps=options.steps(Settings.steps))
    found = [scores(frames, seed, settings) for seed in range(options.seeds)]

    def claim(
        target: str, test: str, share: float, name: str, other: str, other_test: str, least: float | None
    ) -> Claim:
        ours, baseline = (
            tuple(-one[which, share, where, target] for one in found)
            for which, where in ((name, test), (other, other_test))
        )
        what = f"minus {target} ({UNITS[target]}), {test}, {share:.0%} of the clouds: {name}"
        return Claim(what, other if test == other_test else f"{other_test}, {other}", ours, baseline, least)

    claims = []
    for target in (ROTATION, APPROACH, NORMALS):
        claims += [claim(target, TURN, 1.0, name, PLAIN, TURN, 10.0) for name in OURS]
        claims += [claim(target, TURN, 1.0, name, name, UPRIGHT, -3.0) for name in OURS]
    for share in SHARES:
        claims += [claim(ROTATION, TURN, share, name, TURNED, TURN, 0.0) for name in OURS]
    for target in UNITS:
        for test in (UPRIGHT, TURN, ANY):
            for share in SHARES:
                claims += [
                    claim(target, test, share, name, other, test, None)
                    for name, other in ((PONITA, PLAIN), (GAUNT, TURNED), (FRAMES, PLAIN))
                ]
    return claims


def scores(frames: Frames, seed: int, settings: Settings) -> dict[tuple[str, float, str, str], float]:
    """Mean error by network, share, test and target."""
    training, upright, lying = split(frames, seed, settings)
    found = {}
    for share in SHARES:
        some = frames.subset(training[: max(2, round(share * len(training)))])
        for name, make in MAKERS.items():
            objective = make(some, seed)
            train(objective, some, settings, seed)
            tests = {UPRIGHT: (upright, False), TURN: (upright, True), ANY: (lying, False)}
            for test, (rows, turn) in tests.items():
                for target, off in errors_on(objective.encoder, frames, rows, turn, seed).items():
                    found[name, share, test, target] = float(off.mean()) * (1000 if target == CENTER else 1)
    return found


def split(
    frames: Frames, seed: int, settings: Settings
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows of upright clouds to train on, in random order, and of upright and lying ones of other objects.

    Raises:
        ValueError: no object is left to train on.
    """
    rng, labels = np.random.default_rng(seed), frames.columns[LABEL]
    objects = rng.permutation(np.unique(frames.episode))
    classes = {number: labels[np.flatnonzero(frames.episode == number)[0]] for number in objects}
    held_out = [
        number
        for label in np.unique(labels)
        for number in [each for each in objects if classes[each] == label][: settings.held_out]
    ]
    if len(held_out) == len(objects):
        raise ValueError(f"clouds: expected more than {settings.held_out} objects of each class, found no more")
    is_held_out, is_upright = np.isin(frames.episode, held_out), frames.columns[FREEDOM] == 0
    rows = [
        rng.permutation(np.flatnonzero((is_held_out == out) & (is_upright == up)))
        for out, up in ((False, True), (True, True), (True, False))
    ]
    return rows[0], rows[1][: settings.tests], rows[2][: settings.tests]


def train(objective: CloudObjective, frames: Frames, settings: Settings, seed: int) -> None:
    """Train on all of the frames; leaves the network in evaluation mode."""
    order = BatchOrder(np.arange(len(frames)), min(settings.batch, len(frames)), seed)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=settings.lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.lr, settings.steps, pct_start=0.1)
    objective.train()
    train_shortly(objective, frames, order, optimizer, schedule, settings.steps, seed, clip=1.0)
    objective.eval()
