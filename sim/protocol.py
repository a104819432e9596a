"""`EvaluationProtocol`: everything that decides what an evaluation asks of a policy, and its hash.

Two runs with equal hashes asked exactly the same, so their success rates may stand side by side. What does not change
results (workers, executor, transport, videos) is not part of it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from sim.episode_id import EpisodeId


@dataclass(frozen=True, slots=True)
class Condition:
    """One cell of an evaluation: a task under a variation suite of some severity."""

    task: str
    suite: str
    severity: int


@dataclass(frozen=True, slots=True)
class EvaluationProtocol:
    """What is asked of a policy.

    Attributes:
        tasks: names of the tasks.
        suites: names of the variation suites.
        severities: grades of each suite.
        episodes: number of episodes per task, suite and severity.
        seed: seed of the run; see `EpisodeId`.
        query_steps: control steps between two queries of the policy.
        control_hz: control steps per second.
        robot: name of the robot, or its YAML file.
        robot_model: geometry of the robot, as in `SimulationConfig`.
        profile: rendering profile of the policy's cameras.
        width: width of the policy's images, pixels.
        height: height of the policy's images, pixels.
        blank_images: the policy sees black colour images and a flat depth.
        shuffle_instructions: the policy reads the instruction of an episode with another target.
        execution: settings of what stands between policy and arm (chunk scheduling, safety), by section.
    """

    tasks: tuple[str, ...]
    suites: tuple[str, ...] = ("nominal",)
    severities: tuple[int, ...] = (1,)
    episodes: int = 10
    seed: int = 0
    query_steps: int = 1
    control_hz: float = 10.0
    robot: str = "panda"
    robot_model: str = "polyarm"
    profile: str = "fast"
    width: int = 224
    height: int = 224
    blank_images: bool = False
    shuffle_instructions: bool = False
    execution: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("tasks", "suites", "severities"):
            values = tuple(getattr(self, name))
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name}: expected at least one and none twice, found {values}")
            object.__setattr__(self, name, values)
        for name in ("episodes", "query_steps", "width", "height"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected >= 1, found {getattr(self, name)}")

    def conditions(self) -> list[Condition]:
        """All cells of the evaluation, in the order of the report."""
        return [Condition(*cell) for cell in itertools.product(self.tasks, self.suites, self.severities)]

    def episode_ids(self) -> list[EpisodeId]:
        """All episodes, in the order of the report."""
        return [
            EpisodeId(cell.task, cell.suite, cell.severity, index, self.seed)
            for cell in self.conditions()
            for index in range(self.episodes)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EvaluationProtocol:
        """Inverse of `to_dict`.

        Raises:
            ValueError: unknown or missing fields, by name.
        """
        known = {entry.name for entry in fields(cls)}
        if data.keys() != known:
            raise ValueError(f"protocol: expected the fields {sorted(known)}, found {sorted(data)}")
        return cls(**data)

    def sha256(self) -> str:
        """Hash of the canonical JSON form (sorted keys, no spaces)."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def differences(self, other: EvaluationProtocol) -> list[str]:
        """One line for each field in which two protocols differ."""
        mine, theirs = self.to_dict(), other.to_dict()
        return [f"{name}: {mine[name]!r} against {theirs[name]!r}" for name in mine if mine[name] != theirs[name]]
