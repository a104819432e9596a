"""What a perceptron that tells an easy and a hard feature of 16 bits equally well spends its variance on.

The easy feature is the value of a bit, the hard one the parity of three others. Networks are trained until both are
told on held-out inputs.
"""

from __future__ import annotations

import numpy as np

from representation.analysis.feature_bias import (
    BiasStudyConfig,
    FeatureSpec,
    FeatureTask,
    TrainOptions,
    activations,
    bias_study,
    rsa,
    train_until,
)
from representation.analysis.feature_bias.networks import new_network
from representation.benchmarks.claims import BenchOptions, Claim

EASY, HARD = 0, 1
TASK = FeatureTask(16, (FeatureSpec("linear", (0,)), FeatureSpec("parity", (8, 9, 10))))
SEQUENCE = FeatureTask(12, (FeatureSpec("majority", (0, 1, 2)), FeatureSpec("majority", (3, 4, 5))), form="sequence")
RARE = FeatureTask(16, (FeatureSpec("linear", (0,)), FeatureSpec("linear", (1,))), prevalence={1: 0.1})
SGD = TrainOptions(optimizer="sgd", lr=0.1)
TARGET, EPOCHS = 0.995, 200
FEWEST_SEEDS = 4  # of shares; dissimilarities are compared over as many seeds as asked for


def run(options: BenchOptions) -> list[Claim]:
    """Shares of the layer below the head, by seed, and what dissimilarities make of it."""
    seeds, epochs = max(FEWEST_SEEDS, options.seeds), options.steps(EPOCHS)
    adam = shares(BiasStudyConfig(TASK, target_acc=TARGET, max_epochs=epochs, seeds=seeds))
    sgd = shares(BiasStudyConfig(TASK, target_acc=TARGET, max_epochs=epochs, options=SGD, seeds=seeds))
    later = shares(BiasStudyConfig(TASK, first=(HARD,), max_epochs=epochs, seeds=seeds))
    together = shares(BiasStudyConfig(TASK, max_epochs=epochs, seeds=seeds))
    rare = shares(BiasStudyConfig(RARE, max_epochs=epochs, seeds=seeds))
    turns = BiasStudyConfig(
        SEQUENCE, "transformer", max_epochs=options.steps(30), options=TrainOptions(train=2048), seeds=options.seeds
    )
    emitted = shares(turns)
    alike = [dissimilarities(seed, epochs) for seed in range(options.seeds)]
    ratio, told = adam["share"][EASY] / adam["share"][HARD], adam["decodability"][HARD]
    return [
        Claim(
            "share of the easy feature over that of the hard one, Adam",
            "asked",
            tuple(ratio),
            (3.0,) * seeds,
            every=True,
        ),
        Claim("accuracy of reading the hard feature, Adam", "asked", tuple(told), (0.98,) * seeds, every=True),
        Claim("share of variance of the easy feature, Adam", "hard feature", *both(adam), None),
        Claim(
            "share of the easy feature over that of the hard one, SGD",
            "asked",
            tuple(sgd["share"][EASY] / sgd["share"][HARD]),
            (1.5,) * seeds,
        ),
        Claim(
            "share of the hard feature, learned first",
            "twice that when both are learned together",
            tuple(later["share"][HARD]),
            tuple(2 * together["share"][HARD]),
        ),
        Claim("share of a bit that is always labelled", "equal bit, labelled in a tenth", *both(rare), None),
        Claim("transformer: share of the label that is emitted first", "emitted second", *both(emitted), None),
        Claim(
            "rank correlation of dissimilarities of a network of both features with one of the easy feature",
            "with one of the hard feature",
            tuple(easy for easy, _ in alike),
            tuple(hard for _, hard in alike),
            0.2,
            every=True,
        ),
    ]


def shares(config: BiasStudyConfig) -> dict[str, np.ndarray]:
    """Columns (J, seeds) of a study."""
    table = bias_study(config)
    return {name: table.pivot_table(name, "feature", "seed").to_numpy() for name in ("share", "decodability")}


def both(found: dict[str, np.ndarray]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Shares of the first and of the second feature by seed."""
    return tuple(found["share"][0]), tuple(found["share"][1])


def dissimilarities(seed: int, epochs: int) -> tuple[float, float]:
    """How alike a network of both features is to one of the easy feature, and to one of the hard one."""
    task = FeatureTask(TASK.n_inputs, TASK.features, seed=seed)
    inputs = task.split(TrainOptions().train, TrainOptions().test)[1].inputs
    found = []
    for number, only in enumerate((None, (EASY,), (HARD,))):
        model = new_network("mlp", task, 3 * seed + number)
        train_until(model, task, TARGET, epochs, TrainOptions(seed=seed), only)
        found.append(activations(model, inputs))
    return rsa(found[0], found[1]), rsa(found[0], found[2])
