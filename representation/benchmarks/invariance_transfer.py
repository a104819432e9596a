"""What the right transforms in pretraining are worth for other objects, beside more pictures and the right classes.

Pictures of 24 pixels of drawn objects, ten to pretrain on and ten to probe with. The target has one set of transforms,
rotation, hue and erasing, the other one is translation, grey and noise; they change places on odd seeds. A small
network is pretrained, and a linear probe reads the target's classes from it.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from representation.analysis.invariance_transfer import Transforms2D, features, materialised
from representation.analysis.invariance_transfer.measures import feature_invariance, probe_features
from representation.analysis.invariance_transfer.networks import Classifier, new_classifier, train_classifier
from representation.analysis.invariance_transfer.objects import procedural_backgrounds, procedural_objects
from representation.analysis.invariance_transfer.transforms import RGBA
from representation.benchmarks.claims import BenchOptions, Claim

SIDE, CLASSES = 24, 10
SETS = (("rotate", "hue", "erase"), ("translate", "grayscale", "noise"))
COLOURED, MOVED = ("hue", "grayscale", "invert"), ("scale", "rotate", "translate")
PICTURES, FEW, PROBED, PAIRS = 4000, 1000, 1500, 500
EPOCHS, BATCH, COLOURS = 12, 128, 10


def run(options: BenchOptions) -> list[Claim]:
    """Accuracies of probes on the target, and invariance to its transforms, by seed."""
    found = [measured(seed, options.steps(EPOCHS)) for seed in range(options.seeds)]
    values = {name: tuple(one[name] for one in found) for name in found[0]}

    return [
        Claim(
            "probe after the target's transforms on other classes", "other transforms on the same classes",
            values["same"], values["disjoint"], 0.15, every=True,
        ),
        Claim(
            "the same after a quarter of the pictures", "all pictures of other transforms",
            values["few"], values["disjoint"], 0.05, every=True,
        ),
        Claim(
            "distance of two draws of the target's transforms, as a share of that of different pictures, negated",
            "after other transforms",
            tuple(-value for value in values["apart same"]),
            tuple(-value for value in values["apart disjoint"]),
            0.1,
            every=True,
        ),
        Claim(
            "colour read after pretraining on moved objects", "after random colours",
            values["colour moved"], values["colour coloured"], 0.15,
        ),
        Claim(
            "probe after both sets of transforms", "after the target's alone, less 0.08",
            values["superset"], tuple(value - 0.08 for value in values["same"]),
        ),
    ]  # fmt: skip


def measured(seed: int, epochs: int) -> dict[str, float]:
    """Of one seed: accuracy by what was pretrained on, two invariances, and accuracies of colour."""
    wanted, other = SETS if seed % 2 == 0 else SETS[::-1]
    objects = procedural_objects(2 * CLASSES, SIDE, seed)
    backgrounds = procedural_backgrounds(2 * CLASSES, SIDE, seed)
    source, target = objects[:CLASSES], objects[CLASSES:]

    def pictures(shown: Sequence[RGBA], transforms: Sequence[str], n: int, shift: int, draw: int = 0) -> Transforms2D:
        first = 1000 * seed + shift
        return Transforms2D(shown, backgrounds, transforms, n, SIDE, first, first + draw)

    def trained(shown: Sequence[RGBA], transforms: Sequence[str], n: int) -> Classifier:
        images, labels = materialised(pictures(shown, transforms, n, 0))
        return train_classifier(new_classifier("conv4", CLASSES, seed), images, labels, epochs, BATCH, seed)

    probe = [materialised(pictures(target, wanted, PROBED, shift)) for shift in (1, 2)]
    pair = [materialised(pictures(target, wanted, PAIRS, 3, draw))[0] for draw in (0, 1)]
    models = {
        "same": trained(source, wanted, PICTURES),
        "few": trained(source, wanted, FEW),
        "disjoint": trained(target, other, PICTURES),
        "superset": trained(source, (*wanted, *other), PICTURES),
    }
    found = {name: accuracy(model, probe) for name, model in models.items()}
    for name in ("same", "disjoint"):
        found[f"apart {name}"] = feature_invariance(*(features(models[name].features, one) for one in pair))
    colours = [materialised(one) for one in coloured(target, backgrounds, 1000 * seed)]
    for name, transforms in (("coloured", COLOURED), ("moved", MOVED)):
        found[f"colour {name}"] = accuracy(trained(source, transforms, PICTURES), colours)
    return found


def accuracy(model: Classifier, data: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Of a linear probe, fitted on the first pictures and measured on the second."""
    train, test = ((features(model.features, images), labels) for images, labels in data)
    return probe_features(train, test)


def coloured(objects: Sequence[RGBA], backgrounds: Sequence[np.ndarray], seed: int) -> list[Transforms2D]:
    """Pictures to fit and to measure on: objects, each painted in every hue, pale or dark, and moved.

    The hue is the class.
    """
    painted, labels, rng = [], [], np.random.default_rng(seed)
    for colour in range(COLOURS):
        for item in objects:
            shade = np.rint(255 * np.array(colorsys.hsv_to_rgb(colour / COLOURS, *rng.uniform(0.4, 1.0, 2)))).astype(
                np.uint8
            )
            image = item.copy()
            image[..., :3] = shade
            painted.append(image)
            labels.append(colour)
    return [
        Transforms2D(painted, backgrounds, MOVED, PROBED, SIDE, seed + shift, foreground_labels=labels)
        for shift in (1, 2)
    ]
