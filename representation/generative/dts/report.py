"""What is told of a monitor after training: information, active units, single numbers, probes, and a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from representation.generative.dts.measures import (
    active_units,
    by_quantiles,
    mutual_information_gap,
    normalised_information,
)
from representation.generative.dts.model import latent_traversal, sample
from representation.generative.dts.monitor import BEHAVIOUR, SkillMonitor
from representation.generative.dts.objectives import UNKNOWN, information
from representation.generative.dts.windows import Windows
from representation.probes import linear_probe, ridge_probe

QUANTILES, FEWEST = 5, 10  # values that a measured factor is told by; windows that a probe learns from
SHOWN = (-2.0, -1.0, 0.0, 1.0, 2.0)


class Examined:
    """Windows of all robots, and what a monitor makes of them.

    Args:
        monitor: in evaluation mode.
        windows: by robot, in the monitor's order.
    """

    def __init__(self, monitor: SkillMonitor, windows: Sequence[Windows]) -> None:
        names = {skill: number for number, skill in enumerate(monitor.config.skills)}
        self.x = torch.cat([monitor.standard(own.values, robot) for robot, own in enumerate(windows)])
        self.robot = np.repeat(np.arange(len(windows)), [len(own.values) for own in windows])
        self.skill = np.array([names.get(label, UNKNOWN) for own in windows for label in own.labels])
        self.factors = np.concatenate([own.factors for own in windows])
        with torch.no_grad():
            parts = [monitor.model.encode(part) for part in self.x.split(512)]
        self.mu, self.logvar = (torch.cat([part[place] for part in parts]) for place in (0, 1))
        signals = self.x.numpy()
        self.speed = np.abs(np.diff(signals, axis=1)).mean(axis=(1, 2)) * monitor.config.rate
        self.amplitude = np.ptp(signals, axis=1).mean(axis=1)

    def measured(self, names: Sequence[str]) -> dict[str, NDArray]:
        """Numbers (N,) that are known of windows, by name: speed, amplitude, and named factors that vary."""
        own = dict(zip(names, self.factors.T, strict=True))
        found = {"speed": self.speed, "amplitude": self.amplitude, **own}
        return {name: values for name, values in found.items() if np.ptp(values) > 0}


def examine(
    monitor: SkillMonitor, train: Sequence[Windows], held_out: Sequence[Windows], factors: Sequence[str], seed: int
) -> dict[str, Any]:
    """Figures on held-out windows, with probes that were fitted on the others."""
    learned, tested, config = Examined(monitor, train), Examined(monitor, held_out), monitor.config
    z = sample(tested.mu, tested.logvar, torch.Generator().manual_seed(seed))
    parts = {name: float(value) for name, value in information(z, tested.mu, tested.logvar)._asdict().items()}
    with torch.no_grad():
        decoded = torch.cat([monitor.model.decode(mu, config.length) for mu in tested.mu.split(512)])
    errors = (decoded - tested.x).square().mean(dim=(1, 2)).numpy()
    spread = tested.x.var(dim=(1, 2), correction=0).mean()
    measured = tested.measured(factors)
    whole = {"robot": tested.robot, **{name: by_quantiles(v, QUANTILES) for name, v in measured.items()}}
    whole = {name: values for name, values in whole.items() if len(np.unique(values)) > 1}
    table, gap, mu = [], math.nan, tested.mu.numpy()
    if whole and mu.shape[1] > 1:
        known = np.stack(list(whole.values()), axis=1)
        table, gap = normalised_information(mu, known).tolist(), mutual_information_gap(mu, known)
    return {
        "windows": {"learned": len(learned.x), "held_out": len(tested.x)},
        "information": {**parts, "kl": sum(parts.values()), "most": math.log(len(tested.x))},
        "active_units": [active_units(mu), mu.shape[1]],
        "explained": {
            name: float(1 - errors[tested.robot == number].mean() / spread) for number, name in enumerate(config.robots)
        },
        "mutual_information_gap": gap,
        "normalised_information": dict(zip(whole, table, strict=True)),
        "probes": probes(monitor, learned, tested, factors),
    }


def probes(
    monitor: SkillMonitor, learned: Examined, tested: Examined, factors: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Scores of what is told by whom; skills are learned from the first robot's windows alone."""
    config, found = monitor.config, {}

    def told(name: str, group: str, target: str, train: NDArray[np.bool_], test: NDArray[np.bool_]) -> None:
        known, wanted = getattr(learned, target)[train], getattr(tested, target)[test]
        if len(np.unique(known)) < 2 or len(known) < FEWEST or not len(wanted):
            return
        place = config.model.columns(group)
        vectors = (part.mu[:, place].numpy()[rows] for part, rows in ((learned, train), (tested, test)))
        found[name] = asdict(linear_probe((next(vectors), known), (next(vectors), wanted), name))

    first = (learned.robot == 0) & (learned.skill != UNKNOWN)
    for group in config.model.groups:
        for number, robot in enumerate(config.robots):
            known = (tested.robot == number) & (tested.skill != UNKNOWN)
            told(f"skill of {robot} by {group}", group, "skill", first, known)
        told(f"robot by {group}", group, "robot", learned.robot >= 0, tested.robot >= 0)
    for name, values in learned.measured(factors).items():
        if name in (held := tested.measured(factors)):
            found[name] = asdict(ridge_probe((learned.mu.numpy(), values), (tested.mu.numpy(), held[name]), name))
    for number, robot in enumerate(config.robots):
        rows = (tested.robot == number) & (tested.skill != UNKNOWN)
        if rows.any():
            with torch.no_grad():
                skill = monitor.reader(tested.mu[:, config.model.columns(BEHAVIOUR)]).argmax(dim=1).numpy()
            right = float((skill == tested.skill)[rows].mean())
            common = float(np.bincount(tested.skill[rows]).max() / rows.sum())
            found[f"skill of {robot} by the monitor"] = {"score": right, "most common": common}
    return found


def lines(report: Mapping[str, Any]) -> list[str]:
    """The report for people."""
    parts, (active, count) = report["information"], report["active_units"]
    found = [
        f"{report['windows']['held_out']} held-out windows: {parts['mi']:.2f} nats of information "
        f"(at most {parts['most']:.2f}), total correlation {parts['tc']:.2f}, single numbers {parts['dwkl']:.2f}; "
        f"{active} of {count} units active, MIG {report['mutual_information_gap']:.3f}",
        *(f"{name}: {share:.3f} of the variance decoded" for name, share in report["explained"].items()),
    ]
    for name, one in report["probes"].items():
        more = f" [{one['low']:.3f}, {one['high']:.3f}]" if "low" in one else f" ({one['most common']:.3f} if guessed)"
        found.append(f"{one.get('name', name)}: {one['score']:.3f}{more}")
    return found


def draw_traversals(monitor: SkillMonitor, window: NDArray[np.float32], robot: int, path: Path) -> None:
    """A picture of what each number of a window's vector does to the channel that it changes most."""
    from matplotlib.figure import Figure

    config = monitor.config
    x, count = monitor.standard(window, robot), config.model.latent
    rows = -(-count // 4)
    figure = Figure(figsize=(10, 2.2 * rows), layout="constrained")
    places = figure.subplots(rows, 4, squeeze=False, sharex=True).ravel()
    names = [name for name, size in config.model.groups.items() for _ in range(size)]
    for dim, axes in enumerate(places[:count]):
        shown = latent_traversal(monitor.model, x, dim, SHOWN).numpy()
        channel = int(shown.var(axis=0).sum(axis=0).argmax())
        for value, series in zip(SHOWN, shown[:, :, channel], strict=True):
            axes.plot(np.arange(len(x)) / config.rate, series, linewidth=1, label=f"{value:+g}")
        axes.set_title(f"{dim} ({names[dim]}), channel {channel}", fontsize=8)
    for axes in places[count:]:
        axes.axis("off")
    places[0].legend(fontsize=6)
    figure.savefig(path, dpi=80)
