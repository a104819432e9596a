"""The four experiments: transforms beside everything else, irrelevant things, transfer of invariance, and mismatch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from representation.analysis.invariance_transfer.dataset import TEST, Transforms2D, materialised
from representation.analysis.invariance_transfer.measures import feature_invariance, features, probe_features
from representation.analysis.invariance_transfer.networks import NETWORKS, Classifier, new_classifier, train_classifier
from representation.analysis.invariance_transfer.objects import (
    noise_objects,
    procedural_backgrounds,
    procedural_objects,
)
from representation.analysis.invariance_transfer.transforms import CORRUPTION, GEOMETRIC, PHOTOMETRIC, RGBA, TRANSFORMS

Experiment = Literal["transforms", "irrelevant", "invariance", "mismatch"]
Axis = Literal["class_relation", "architecture", "pretraining_samples", "fine_tuning_samples"]
RELATIONS = ("subset", "same", "disjoint", "superset")
CORRELATIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.85, 0.9, 0.95, 1.0)
AVAILABILITIES = (0.0, 0.2, 0.4, 0.6, 0.8)
KINDS = ("objects", "other objects", "noise")
_FINE_TUNING_BATCH = 64


@dataclass(frozen=True)
class StudyConfig:
    """What is studied. Sizes are those of the paper; smaller ones run on a laptop.

    Attributes:
        experiment: `transforms` varies `axis` for pretraining with the target's transforms and with others;
            `irrelevant` correlates objects with the backgrounds that are told, and probes both; `invariance` measures
            all transforms on networks that saw one each; `mismatch` probes under nested sets of transforms.
        axis: of `transforms`.
        values: of the axis; those of the paper if empty.
        transforms: that `invariance` measures and `mismatch` nests.
        architecture: of all networks but where it is varied.
        classes: target classes; twice as many objects are needed.
        image_size: pixels.
        samples: to pretrain on.
        target_samples: to probe or fine-tune on.
        test_samples: to measure on.
        epochs: of pretraining.
        probe: `lbfgs` or `adam`.
        fine_tuning_epochs: of a whole network from the head that was probed.
        batch: pictures a step.
        seeds: repetitions.
    """

    experiment: Experiment
    axis: Axis = "class_relation"
    values: tuple[str | int | float, ...] = ()
    transforms: tuple[str, ...] = tuple(TRANSFORMS)
    architecture: str = "resnet18"
    classes: int = 30
    image_size: int = 32
    samples: int = 50_000
    target_samples: int = 50_000
    test_samples: int = 10_000
    epochs: int = 50
    probe: Literal["lbfgs", "adam"] = "adam"
    fine_tuning_epochs: int = 50
    batch: int = 512
    seeds: int = 10

    def __post_init__(self) -> None:
        if self.experiment not in _EXPERIMENTS:
            raise ValueError(f"experiment: expected one of {', '.join(_EXPERIMENTS)}, found {self.experiment!r}")
        if self.axis not in _VALUES:
            raise ValueError(f"axis: expected one of {', '.join(_VALUES)}, found {self.axis!r}")
        if min(self.samples, self.target_samples, self.test_samples, self.epochs, self.seeds) < 1 or self.classes < 2:
            raise ValueError(f"sizes: expected at least 1, and 2 classes, found {self}")


@dataclass(frozen=True)
class StudyResult:
    """What was found.

    Attributes:
        config: of the study.
        table: a row for each thing that was measured: `seed`, what was varied, and `accuracy` or `invariance`.
    """

    config: StudyConfig
    table: pd.DataFrame


@dataclass(frozen=True)
class Material:
    """Cut-outs and backgrounds of a study, and the sizes that all its pictures have."""

    config: StudyConfig
    foregrounds: Sequence[RGBA]
    backgrounds: Sequence[NDArray[np.uint8]]

    def pictures(
        self, classes: Sequence[int], transforms: Sequence[str], n: int, seed: int, **more: object
    ) -> tuple[Tensor, Tensor]:
        """Pictures of some of the objects, and their classes from 0."""
        shown = [self.foregrounds[place] for place in classes]
        size = self.config.image_size
        return materialised(Transforms2D(shown, self.backgrounds, transforms, n, size, seed, **more))

    def pretrained(
        self, classes: Sequence[int], transforms: Sequence[str], seed: int, n: int = 0, architecture: str = ""
    ) -> Classifier:
        """A network that was trained to tell some of the objects."""
        config = self.config
        data = self.pictures(classes, transforms, n or config.samples, seed)
        model = new_classifier(architecture or config.architecture, len(classes), seed)
        return train_classifier(model, *data, config.epochs, config.batch, seed)

    def probed(self, model: Classifier, classes: Sequence[int], transforms: Sequence[str], seed: int) -> float:
        """Accuracy of a linear probe on some of the objects."""
        train, test = (
            self.pictures(classes, transforms, n, seed + 1 + shift)
            for n, shift in ((self.config.target_samples, 0), (self.config.test_samples, TEST))
        )
        parts = [(features(model.features, x), y) for x, y in (train, test)]
        return probe_features(parts[0], parts[1], solver=self.config.probe)


def transfer_study(
    config: StudyConfig, foregrounds: Sequence[RGBA] = (), backgrounds: Sequence[NDArray[np.uint8]] = ()
) -> StudyResult:
    """Run an experiment.

    Args:
        config: which, and how much of it.
        foregrounds: at least twice as many cut-outs as classes; drawn ones if empty.
        backgrounds: drawn ones if empty.

    Raises:
        ValueError: too few cut-outs.
    """
    size = config.image_size
    material = Material(
        config,
        foregrounds or procedural_objects(2 * config.classes, size, 0),
        backgrounds or procedural_backgrounds(100, size, 0),
    )
    if len(material.foregrounds) < 2 * config.classes:
        raise ValueError(f"foregrounds: expected at least {2 * config.classes}, found {len(material.foregrounds)}")
    rows: list[dict[str, object]] = []
    for seed in tqdm(range(config.seeds), desc=config.experiment, unit="seed"):
        rows += [{"seed": seed, **row} for row in _EXPERIMENTS[config.experiment](material, seed)]
    return StudyResult(config, pd.DataFrame(rows))


def target_and_disjoint(rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """One transform of each category, and another one of each."""
    pairs = [rng.choice(category, 2, replace=False) for category in (GEOMETRIC, PHOTOMETRIC, CORRUPTION)]
    return [str(pair[0]) for pair in pairs], [str(pair[1]) for pair in pairs]


def _transforms(material: Material, seed: int) -> list[dict[str, object]]:
    config, rng = material.config, np.random.default_rng((seed, 0))
    right, other = target_and_disjoint(rng)
    order = rng.permutation(len(material.foregrounds))
    target, spare = order[: config.classes], order[config.classes : 2 * config.classes]
    rows: list[dict[str, object]] = []
    for value in config.values or _VALUES[config.axis]:
        for name, transforms in (("target", right), ("disjoint", other)):
            relation = str(value) if config.axis == "class_relation" else "disjoint"
            samples = int(value) if config.axis == "pretraining_samples" else config.samples
            architecture = str(value) if config.axis == "architecture" else config.architecture
            model = material.pretrained(_related(relation, target, spare), transforms, seed, samples, architecture)
            if config.axis == "fine_tuning_samples":
                accuracy = _fine_tuned(material, model, target, right, int(value), seed)
            else:
                accuracy = material.probed(model, target, right, seed)
            rows.append({str(config.axis): value, "transforms": name, "accuracy": accuracy})
    return rows


def _related(relation: str, target: NDArray[np.int64], spare: NDArray[np.int64]) -> NDArray[np.int64]:
    if relation not in RELATIONS:
        raise ValueError(f"class_relation: expected one of {', '.join(RELATIONS)}, found {relation!r}")
    found = {"subset": target[: max(2, len(target) // 3)], "same": target, "disjoint": spare}
    return found.get(relation, np.concatenate([target, spare]))


def _fine_tuned(
    material: Material, model: Classifier, classes: NDArray[np.int64], transforms: Sequence[str], n: int, seed: int
) -> float:
    """Accuracy after a head was fitted, and then all of the network trained, on n pictures."""
    config = material.config
    train = material.pictures(classes, transforms, n, seed + 1)
    test = material.pictures(classes, transforms, config.test_samples, seed + 1 + TEST)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.head = torch.nn.Linear(model.head.in_features, len(classes))
    model.requires_grad_(False).head.requires_grad_(True)
    frozen = features(model.features, train[0]).float()
    optimizer = torch.optim.Adam(model.head.parameters(), 1e-3)
    for _ in range(200):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model.head(frozen), train[1]).backward()
        optimizer.step()
    model.requires_grad_(True)
    train_classifier(model, *train, config.fine_tuning_epochs, min(config.batch, _FINE_TUNING_BATCH), seed)
    return float((features(model, test[0]).argmax(dim=1) == test[1]).double().mean())


def _irrelevant(material: Material, seed: int) -> list[dict[str, object]]:
    """What a network still tells of what it was not trained to tell; objects stand in the corner."""
    config = material.config
    classes = list(range(config.classes))
    scenes = material.backgrounds[: config.classes]
    own = Material(config, material.foregrounds, scenes)
    alone = Material(config, material.foregrounds, ())
    settings = [(value, 1.0) for value in CORRELATIONS] + [(0.0, value) for value in AVAILABILITIES]
    rows: list[dict[str, object]] = []
    for label, other in (("background", "foreground"), ("foreground", "background")):
        for correlation, availability in settings if label == "background" else settings[: len(CORRELATIONS)]:
            linked = {"fg_bg_correlation": correlation, "fg_availability": availability, "corner": True}
            data = own.pictures(classes, ("translate", "hue"), config.samples, seed, label=label, **linked)
            model = new_classifier(config.architecture, config.classes, seed)
            train_classifier(model, *data, config.epochs, config.batch, seed)
            for asked, shown, name in ((label, own, label), (other, own, other), ("foreground", alone, "object alone")):
                parts = [
                    shown.pictures(classes, ("translate", "hue"), n, seed + 1 + shift, label=asked, corner=True)
                    for n, shift in ((config.target_samples, 0), (config.test_samples, TEST))
                ]
                known = [(features(model.features, x), y) for x, y in parts]
                accuracy = probe_features(known[0], known[1], solver=config.probe)
                row = {"trained": label, "correlation": correlation, "availability": availability}
                rows.append({**row, "probed": name, "accuracy": accuracy})
    return rows


def _invariance(material: Material, seed: int) -> list[dict[str, object]]:
    config = material.config
    order = np.random.default_rng((seed, 2)).permutation(len(material.foregrounds))
    known, new = order[: config.classes], order[config.classes : 2 * config.classes]
    size = config.image_size
    noisy = [one[..., :3] for one in noise_objects(20, size, seed + 1)]
    shown = {
        "objects": ([material.foregrounds[place] for place in known], material.backgrounds),
        "other objects": ([material.foregrounds[place] for place in new], material.backgrounds),
        "noise": (noise_objects(config.classes, size, seed), noisy),
    }
    models = {name: material.pretrained(known, (name,), seed) for name in config.transforms}
    rows: list[dict[str, object]] = []
    for measured in config.transforms:
        for kind, (objects, behind) in shown.items():
            pair = [
                Transforms2D(objects, behind, (measured,), config.test_samples, size, seed + TEST, seed + 1 + draw)
                for draw in range(2)
            ]
            images = [materialised(one)[0] for one in pair]
            for trained, model in models.items():
                first, second = (features(model.features, one) for one in images)
                value = feature_invariance(first, second, "l2", seed)
                rows.append({"trained": trained, "measured": measured, "shown": kind, "invariance": value})
    return rows


def _mismatch(material: Material, seed: int) -> list[dict[str, object]]:
    config, rng = material.config, np.random.default_rng((seed, 3))
    order = [str(name) for name in rng.permutation(config.transforms)][:8]
    classes = rng.permutation(len(material.foregrounds))[: config.classes]
    rows: list[dict[str, object]] = []
    for trained in range(1, len(order) + 1):
        model = material.pretrained(classes, order[:trained], seed)
        for target in range(1, len(order) + 1):
            accuracy = material.probed(model, classes, order[:target], seed)
            rows.append({"trained": trained, "target": target, "accuracy": accuracy})
    return rows


_EXPERIMENTS: dict[str, Callable[[Material, int], list[dict[str, object]]]] = {
    "transforms": _transforms,
    "irrelevant": _irrelevant,
    "invariance": _invariance,
    "mismatch": _mismatch,
}
_VALUES: dict[str, tuple[str | int, ...]] = {
    "class_relation": RELATIONS,
    "architecture": tuple(name for name in NETWORKS if name != "conv4"),
    "pretraining_samples": (1000, 10_000, 50_000, 100_000, 500_000),
    "fine_tuning_samples": (50, 200, 500, 2000, 5000),
}
