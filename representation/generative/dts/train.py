"""Learn what an arm does apart from which arm it is: `python -m representation.generative.dts.train --help`.

`--data` is a LeRobot dataset (`python -m sim.collect`) or an npz file with `windows` (N, T, C); `--target` are others,
of other arms, payloads or sensors, whose skills are not known. Windows of both train a model (system `dts`) whose
behaviour group shall tell the skill, if `--labels` names columns of `--data` that do, and not the robot; its domain
group the other way round. Without labels skills are clusters of behaviour. Of each dataset a fifth of the episodes is
held out for the report, and to find what is unusual. `representation.generative.dts.watch` uses what is written.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression

from representation.data.frames import expect_empty
from representation.generative.dts.model import DTSConfig
from representation.generative.dts.monitor import BEHAVIOUR, DOMAIN, MonitorConfig, SkillMonitor
from representation.generative.dts.objectives import UNKNOWN, GroupHeads
from representation.generative.dts.report import Examined, draw_traversals, examine, lines
from representation.generative.dts.training import Objective, TrainingOptions, fit
from representation.generative.dts.windows import (
    STATE_CHANNELS,
    UNLABELLED,
    Recording,
    Windows,
    cut,
    hold_out,
    read_recordings,
)
from representation.metrics_log import MetricsLog

REPORT_FILE = "report.json"


@dataclass(frozen=True)
class TrainOptions:
    """What is learned from what.

    Attributes:
        data: recordings whose skills may be known.
        output: directory to write; must not hold files.
        target: recordings of other arms, which are named by their directories.
        channels: columns of `data`; NAME:0,2-4 takes some entries of one.
        target_channels: columns of the targets, as many numbers; those of `data` if left out.
        labels: columns of `data` that together tell the skill of a step.
        check: also read the labels of the targets, to report how well they are told; nothing learns from them.
        factors: further columns that are known of windows, to report which numbers tell them.
        skills: clusters, where there are no labels.
        length: steps of a window.
        stride: steps between windows.
        rate: of the signals, Hz.
        objective: what is trained; `group` and `both` ask groups to tell their targets.
        steps: of the optimizer.
        batch: windows of a step.
        lr: learning rate.
        threads: of torch.
        seed: of everything that is drawn.
        model: sizes and weights; how near signals are decoded is learned unless asked otherwise.
    """

    data: Path
    output: Path
    target: tuple[Path, ...] = ()
    channels: tuple[str, ...] = STATE_CHANNELS
    target_channels: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    check: bool = False
    factors: tuple[str, ...] = ()
    skills: int = 4
    length: int = 16
    stride: int = 2
    rate: float = 10.0
    objective: Objective = "both"
    steps: int = 1500
    batch: int = 128
    lr: float = 2e-3
    threads: int = 2
    seed: int = 0
    model: Annotated[DTSConfig, tyro.conf.arg(name="set")] = field(default_factory=lambda: DTSConfig(learn_sigma=True))


def read_all(options: TrainOptions) -> dict[str, list[Recording]]:
    """Recordings by the name of the robot, the labelled ones first.

    Raises:
        ValueError: no labels where columns of them are named, names that come twice, or other numbers of channels.
    """
    paths = (options.data, *options.target)
    names = [path.resolve().stem for path in paths]
    if len(set(names)) != len(names):
        raise ValueError(f"data, target: expected different names, found {names}")
    found = {}
    for number, (name, path) in enumerate(zip(names, paths, strict=True)):
        channels = (options.target_channels or options.channels) if number else options.channels
        labels = options.labels if number == 0 or options.check else ()
        found[name] = read_recordings(path, channels, labels, options.rate, options.factors)
        width = found[name][0].values.shape[1]
        if width != found[names[0]][0].values.shape[1]:
            raise ValueError(
                f"{path}: expected {found[names[0]][0].values.shape[1]} channels as of {options.data}, found {width}"
            )
    return found


def run(options: TrainOptions, log: MetricsLog | None = None) -> tuple[SkillMonitor, dict[str, Any], Windows]:
    """A monitor, what is reported of it, and held-out windows of the first robot.

    Raises:
        ValueError: as `read_all`, `cut` and `fit`; groups that the monitor does not know.
    """
    recordings = read_all(options)
    halves = [hold_out(own, options.seed) for own in recordings.values()]
    train, held = ([cut(half[place], options.length, options.stride) for half in halves] for place in (0, 1))
    skills = tuple(sorted(set(train[0].labels) - {UNLABELLED}))
    channels = [options.channels] + [options.target_channels or options.channels] * len(options.target)
    monitor = SkillMonitor(
        MonitorConfig(
            options.model,
            train[0].values.shape[2],
            options.length,
            options.rate,
            tuple(recordings),
            tuple(channels),
            skills or tuple(f"cluster {number}" for number in range(options.skills)),
        ),
        options.seed,
    )
    for number, own in enumerate(train):
        values = torch.from_numpy(own.values).flatten(0, 1)
        monitor.means[number], spread = values.mean(dim=0), values.std(dim=0)
        monitor.scales[number] = torch.where(spread > 1e-6, spread, 1.0)
    learn(monitor, train, options, len(skills), log)
    monitor.set_limits([half[1] for half in halves])
    report = examine(monitor, train, held, options.factors, options.seed)
    return monitor, report, held[0]


def learn(
    monitor: SkillMonitor, train: Sequence[Windows], options: TrainOptions, skills: int, log: MetricsLog | None
) -> None:
    """Train the model of a monitor and what reads skills from it; `skills` is the number of labels, 0 without any."""
    before = Examined(monitor, train)
    classes, targets = {}, {}
    if skills > 1:
        classes[BEHAVIOUR] = skills
        # Labels of targets are for the report alone.
        targets[BEHAVIOUR] = torch.from_numpy(np.where(before.robot == 0, before.skill, UNKNOWN))
    if len(train) > 1:
        monitor.config.model.columns(DOMAIN)
        classes[DOMAIN], targets[DOMAIN] = len(train), torch.from_numpy(before.robot)
    grouped = bool(classes) and options.objective != "individual"
    heads = GroupHeads(monitor.config.model, classes, seed=options.seed) if grouped else None
    training = TrainingOptions(options.objective, options.steps, options.batch, options.lr, seed=options.seed)
    fit(monitor.model, before.x, training, heads, targets if grouped else None, log, progress=True)
    monitor.eval()
    if heads is not None and BEHAVIOUR in classes:
        monitor.reader.load_state_dict(heads.own[BEHAVIOUR].state_dict())
        return
    vectors = Examined(monitor, train).mu[:, monitor.config.model.columns(BEHAVIOUR)].double().numpy()
    if skills > 1:
        known = (before.robot == 0) & (before.skill != UNKNOWN)
        linear = LogisticRegression(max_iter=1000).fit(vectors[known], before.skill[known])
        weight, bias = linear.coef_, linear.intercept_
        if skills == 2:
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    else:
        clusters = KMeans(len(monitor.config.skills), n_init=10, random_state=options.seed).fit(vectors)
        # Nearness to a centre, -|g - c|^2 / 2, less what is the same for all.
        weight, bias = clusters.cluster_centers_, -np.square(clusters.cluster_centers_).sum(axis=1) / 2
    with torch.no_grad():
        monitor.reader.weight.copy_(torch.from_numpy(weight))
        monitor.reader.bias.copy_(torch.from_numpy(bias))


def main(args: Sequence[str] | None = None) -> int:
    """Train from the command line, and tell what was learned; returns the exit code."""
    options = tyro.cli(TrainOptions, args=args, description=__doc__)
    torch.set_num_threads(options.threads)
    try:
        expect_empty(options.output)
        options.output.mkdir(parents=True, exist_ok=True)
        log = MetricsLog(options.output, 0)
        monitor, report, shown = run(options, log)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    monitor.save(options.output)
    log.draw()
    draw_traversals(monitor, shown.values[0], 0, options.output / "traversals.png")
    (options.output / REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print("\n".join(lines(report)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
