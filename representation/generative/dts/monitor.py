"""`SkillMonitor`: a trained model that tells skills and alarms along episodes of the robots that it knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.generative.dts.model import DTSConfig, DTSModel
from representation.generative.dts.objectives import log_normal
from representation.generative.dts.windows import Recording, cut

SYSTEM, BEHAVIOUR, DOMAIN = "dts", "behaviour", "domain"
ALARM_QUANTILE = 0.99
CHUNK = 512  # windows at once


@dataclass(frozen=True)
class MonitorConfig:
    """What a monitor knows.

    Attributes:
        model: of its `DTSModel`.
        width: number C of signals.
        length: steps T of a window.
        rate: of the signals, Hz.
        robots: names of those it knows.
        channels: of each of them, columns of its recordings.
        skills: names of what is told apart.
    """

    model: DTSConfig
    width: int
    length: int
    rate: float
    robots: tuple[str, ...]
    channels: tuple[tuple[str, ...], ...]
    skills: tuple[str, ...]


class Segment(NamedTuple):
    """A stretch of an episode in which one skill is the likeliest.

    Attributes:
        first: step at which it begins.
        last: step before which it ends.
        skill: its name.
        confidence: mean probability of it.
    """

    first: int
    last: int
    skill: str
    confidence: float


class SkillMonitor(nn.Module):
    """Signals (n, C) of an episode to skills and to scores of how unusual each step is.

    Args:
        config: what it knows.
        seed: of the model's first weights.

    Attributes:
        model: encodes windows.
        reader: tells skills by the behaviour group of a vector.
        means, scales: (R, C) by which a robot's signals are brought to one range.
        limits: (R,) score above which a step is an alarm.
    """

    means: Tensor
    scales: Tensor
    limits: Tensor

    def __init__(self, config: MonitorConfig, seed: int = 0) -> None:
        super().__init__()
        if BEHAVIOUR not in config.model.groups:
            raise ValueError(f"groups: expected {BEHAVIOUR} among them, found {list(config.model.groups)}")
        self.config = config
        self.model = DTSModel(config.width, config.model, seed)
        self.reader = nn.Linear(config.model.groups[BEHAVIOUR], len(config.skills))
        robots = len(config.robots)
        self.register_buffer("means", torch.zeros(robots, config.width))
        self.register_buffer("scales", torch.ones(robots, config.width))
        self.register_buffer("limits", torch.full((robots,), torch.inf))

    def robot(self, name: str) -> int:
        """Number of a robot.

        Raises:
            ValueError: an unknown one.
        """
        if name not in self.config.robots:
            raise ValueError(f"robot: expected one of {', '.join(self.config.robots)}, found {name!r}")
        return self.config.robots.index(name)

    def standard(self, values: NDArray[np.float32], robot: int) -> Tensor:
        """Signals (..., C) of a robot, brought to one range."""
        return (torch.from_numpy(values) - self.means[robot]) / self.scales[robot]

    @torch.no_grad()
    def follow(self, recording: Recording, robot: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Look at all windows of an episode.

        Args:
            recording: (n, C) signals, at least T steps.
            robot: name of whose.

        Returns:
            Probabilities of skills (n, K) and scores (n,): means over the windows that hold a step. A score is the
            step's negative log likelihood, decoded from the window's vector alone and compared with that of no error,
            and its share of the window's divergence from the prior, nats.

        Raises:
            ValueError: an unknown robot, or an episode that is too short or has other signals.
        """
        number, length = self.robot(robot), self.config.length
        if recording.values.ndim != 2 or recording.values.shape[1] != self.config.width:
            raise ValueError(f"recording: expected (n, {self.config.width}), found {recording.values.shape}")
        windows = cut([recording], length, 1)
        steps = len(recording.values)
        skills, scores, seen = np.zeros((steps, len(self.config.skills))), np.zeros(steps), np.zeros(steps)
        for start in range(0, len(windows.values), CHUNK):
            x = self.standard(windows.values[start : start + CHUNK], number)
            mu, logvar = self.model.encode(x)
            told = self.reader(mu[:, self.config.model.columns(BEHAVIOUR)]).softmax(dim=1).double().numpy()
            scored = self._scores(x, mu, logvar).double().numpy()
            for first, one, own in zip(windows.first[start : start + CHUNK], told, scored, strict=True):
                skills[first : first + length] += one
                scores[first : first + length] += own
                seen[first : first + length] += 1
        return skills / seen[:, None], scores / seen

    def _scores(self, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        decoded, spread = self.model.decode(mu, x.shape[1]), 2 * self.model.log_sigma
        errors = (log_normal(x, x, spread) - log_normal(x, decoded, spread)).sum(dim=2)
        divergence = (mu.square() + logvar.exp() - logvar - 1).sum(dim=1) / 2
        return errors + divergence[:, None] / x.shape[1]

    def set_limits(self, recordings: Sequence[Sequence[Recording]]) -> None:
        """Make all but a hundredth of the steps of ordinary recordings, by robot, no alarm."""
        for number, own in enumerate(recordings):
            long = [one for one in own if len(one.values) >= self.config.length]
            if not long:
                raise ValueError(f"{self.config.robots[number]}: expected recordings as long as a window, found none")
            scores = np.concatenate([self.follow(one, self.config.robots[number])[1] for one in long])
            self.limits[number] = float(np.quantile(scores, ALARM_QUANTILE))

    def save(self, directory: Path) -> None:
        """Write what `load` reads."""
        content = asdict(self.config)
        content["model"]["groups"] = dict(self.config.model.groups)
        save_encoder(self, SYSTEM, content, directory)


def segments(probabilities: NDArray[np.float64], skills: Sequence[str], shortest: int = 3) -> list[Segment]:
    """Where one skill is the likeliest; stretches of fewer steps go to the one before them.

    Args:
        probabilities: (n, K) by step.
        skills: names of the K.
        shortest: steps.
    """
    told = probabilities.argmax(axis=1)
    starts = [0, *(np.flatnonzero(np.diff(told)) + 1).tolist(), len(told)]
    kept: list[list[int]] = []
    for first, last in pairwise(starts):
        skill = int(told[first])
        if kept and (last - first < shortest or kept[-1][2] == skill):
            kept[-1][1] = last
        else:
            kept.append([first, last, skill])
    return [
        Segment(first, last, skills[skill], float(probabilities[first:last, skill].mean()))
        for first, last, skill in kept
    ]


def load(directory: Path) -> SkillMonitor:
    """Read a monitor that was saved; in evaluation mode.

    Raises:
        ValueError: damaged; names the file.
    """
    content = dict(read_config(directory)["config"])
    try:
        content["model"] = DTSConfig(**content["model"])
        content |= {name: tuple(content[name]) for name in ("robots", "skills")}
        content["channels"] = tuple(tuple(own) for own in content["channels"])
        monitor = SkillMonitor(MonitorConfig(**content))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{directory}: expected the configuration of a skill monitor: {error}") from error
    load_weights(monitor, directory)
    return monitor.eval()
