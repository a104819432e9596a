"""DTS beside a beta-VAE on drawn waves, and what becomes of a group of numbers with and without an adversary.

Waves: 2,000 series of 40 steps with known amplitude, frequency, offset and slope. The same network, with the decoder's
previous values hidden half of the time and divergences that come in over a third of the training, learns them with the
whole divergence weighed by 4, and with the mutual information spared. Where that care is not taken, and the likelihood
weighs little, the vector stays unused, whatever the objective.

Groups: windows of two drawn robots that do four skills; skills of the second are not known. Skills are read from the
behaviour group by a linear probe that is fitted on the first robot.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression

from representation.benchmarks.claims import BenchOptions, Claim
from representation.generative.dts import (
    UNKNOWN,
    DTSConfig,
    DTSModel,
    GroupHeads,
    TrainingOptions,
    active_units,
    fit,
    information,
    latent_traversal,
    sample,
)
from representation.generative.dts.monitor import BEHAVIOUR, DOMAIN
from representation.generative.dts.signals import ROBOTS, SKILLS, heart_beats, robot_windows, waves
from representation.probes import linear_probe

SERIES, LENGTH, STEPS, LR, WARMUP = 2000, 40, 1200, 2e-3, 1 / 3
BETA, LATENT = 4.0, 8
CAREFUL = DTSConfig(LATENT, {"all": LATENT}, hidden=48, alpha=BETA, beta=BETA, masked=0.5)
CARELESS = replace(CAREFUL, masked=0.0, fed=False)
FAINT = 0.1  # weight of the likelihood where no care is taken
WINDOWS, HELD_OUT, WINDOW, GROUP_STEPS = 600, 400, 30, 400  # of each robot
GROUPED = DTSConfig(hidden=32, targets=30.0)


class Waves(NamedTuple):
    """What a model of waves holds.

    Attributes:
        information: mutual information of vector and series, nats.
        correlation: total correlation, nats.
        units: active ones.
        read: mean R squared of the four factors, read linearly from means of other series.
    """

    information: float
    correlation: float
    units: float
    read: float


def run(options: BenchOptions) -> list[Claim]:
    """Information, units and what is read of waves; skills and robots told by groups."""
    seeds = range(options.seeds)
    care, none = ([pair_of_waves(seed, options, careful) for seed in seeds] for careful in (True, False))
    ours, base, ours_none, base_none = ([pair[place] for pair in pairs] for pairs in (care, none) for place in (0, 1))
    grouped = [[told_by_groups(seed, options, weight) for weight in (1.0, 0.0)] for seed in seeds]

    def of(found: list[Waves], name: str, sign: float = 1.0) -> tuple[float, ...]:
        return tuple(sign * getattr(one, name) for one in found)

    def column(place: int, weight: int, sign: float = 1.0) -> tuple[float, ...]:
        return tuple(sign * one[weight][place] for one in grouped)

    vae, zero = f"beta-VAE ({BETA:g})", (0.0,) * options.seeds
    ratio = tuple(-one.correlation / other.correlation for one, other in zip(ours, base, strict=True))
    return [
        Claim("waves: information in the vector, nats", vae, of(ours, "information"), of(base, "information"), 0.5),
        Claim("waves: active units", vae, of(ours, "units"), of(base, "units")),
        Claim("waves: R squared of four factors", vae, of(ours, "read"), of(base, "read"), 0.02),
        Claim("waves: total correlation over the beta-VAE's, negated", "asked: 2.5", ratio, (-2.5,) * options.seeds),
        Claim(
            "waves without masks, warm-up and z at each step: information of the beta-VAE, negated",
            "none",
            of(base_none, "information", -1),
            zero,
            -0.05,
        ),
        Claim("the same: its active units, negated", "none", of(base_none, "units", -1), zero),
        Claim(
            "the same: information of DTS, which does not rescue it, negated",
            "none",
            of(ours_none, "information", -1),
            zero,
            -0.5,
        ),
        Claim("skills of an unlabelled robot", "no adversary", column(0, 0), column(0, 1), 0.05),
        Claim("robots told by the behaviour group, negated", "asked: 0.65", column(1, 0, -1), (-0.65,) * options.seeds),
        Claim("the same", "no adversary", column(1, 0), column(1, 1), None),
    ]


def pair_of_waves(seed: int, options: BenchOptions, careful: bool) -> tuple[Waves, Waves]:
    """Of DTS and of a beta-VAE, with the care that the method takes or without."""
    config = CAREFUL if careful else CARELESS
    training = TrainingOptions(
        steps=options.steps(STEPS),
        lr=LR,
        warmup=WARMUP if careful else 0.0,
        likelihood=1.0 if careful else FAINT,
        seed=seed,
    )
    return trained_on_waves(config, training), trained_on_waves(replace(config, alpha=0.0), training)


def trained_on_waves(config: DTSConfig, training: TrainingOptions) -> Waves:
    """Train and measure; factors are read from the first half of the series and tried on the other."""
    series, factors = waves(SERIES, LENGTH, training.seed)
    x, model = torch.from_numpy(series), DTSModel(1, config, training.seed)
    fit(model, x, training)
    with torch.no_grad():
        mu, logvar = model.encode(x)
    found = information(sample(mu, logvar, torch.Generator().manual_seed(training.seed)), mu, logvar)
    half, vectors = SERIES // 2, mu.numpy()
    read = [
        LinearRegression().fit(vectors[:half], factor[:half]).score(vectors[half:], factor[half:])
        for factor in factors.T
    ]
    return Waves(float(found.mi), float(found.tc), active_units(mu), float(np.mean(read)))


def told_by_groups(seed: int, options: BenchOptions, adversary: float) -> tuple[float, float]:
    """Share of the second robot's held-out skills, and of both robots, that the behaviour group tells."""
    config = replace(GROUPED, adversary=adversary)
    (known, skills), (unknown, _) = (robot_windows(WINDOWS, WINDOW, r, 10 * seed + k) for k, r in enumerate(ROBOTS))
    held = [robot_windows(HELD_OUT, WINDOW, robot, 10 * seed + 5 + k) for k, robot in enumerate(ROBOTS)]
    x = torch.from_numpy(np.concatenate([known, unknown]))
    robots = np.arange(2).repeat(WINDOWS)
    targets = {BEHAVIOUR: np.concatenate([skills, np.full(WINDOWS, UNKNOWN)]), DOMAIN: robots}
    model = DTSModel(x.shape[2], config, seed)
    heads = GroupHeads(config, {BEHAVIOUR: len(SKILLS), DOMAIN: len(ROBOTS)}, seed=seed)
    training = TrainingOptions("group", options.steps(GROUP_STEPS), lr=LR, seed=seed)
    fit(model, x, training, heads, {name: torch.from_numpy(classes) for name, classes in targets.items()})

    def behaviour(values: Any) -> NDArray:
        with torch.no_grad():
            return model.encode(torch.as_tensor(values))[0][:, config.columns(BEHAVIOUR)].numpy()

    told = linear_probe((behaviour(known), skills), (behaviour(held[1][0]), held[1][1]), "skill").score
    both = behaviour(np.concatenate([held[0][0], held[1][0]]))
    return told, linear_probe((behaviour(x), robots), (both, np.arange(2).repeat(HELD_OUT)), "robot").score


def pictures(options: BenchOptions, file: Path) -> None:
    """Heart beats, in units of their deviation: what each number of a vector does, while the others stay."""
    from matplotlib.figure import Figure

    series, _ = heart_beats(1000, LENGTH, 0)
    x, model = torch.from_numpy((series - series.mean()) / series.std()), DTSModel(1, CAREFUL, 0)
    fit(model, x, TrainingOptions(steps=options.steps(STEPS), lr=LR, warmup=WARMUP))
    with torch.no_grad():
        mu = model.encode(x)[0]
    order, values = mu.var(dim=0).argsort(descending=True), (-2.0, -1.0, 0.0, 1.0, 2.0)
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    for place, (dim, axes) in enumerate(zip(order.tolist(), figure.subplots(2, 4, sharey=True).ravel(), strict=True)):
        for value, shown in zip(values, latent_traversal(model, x[0], dim, values), strict=True):
            axes.plot(shown[:, 0], linewidth=1.2, label=f"{value:+g}", color=f"C{values.index(value)}")
        axes.set_title(f"number {dim}, variance of its mean {float(mu[:, dim].var()):.2f}", fontsize=8)
        if place == 0:
            axes.legend(fontsize=7)
    figure.suptitle("a heart beat while one number of its vector takes five values")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=80)
