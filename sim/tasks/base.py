"""What a task is: a way to draw its scene, a success predicate, and a progress measure."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np

from sim.layout import Layout
from sim.scene import Scene
from sim.suites import NOMINAL, Variation

REST_SPEED = 0.05
FOLLOW = 0.3


class Task(Protocol):
    """One episode of a language-conditioned task in an arranged scene.

    Attributes:
        name: registry name.
        robot: name of the robot that it was laid out for; others with as many arms may try it.
        hold_steps: number of consecutive control steps for which `achieved` must be true to count as success.
        max_steps: control steps after which the episode has failed.
    """

    name: ClassVar[str]
    robot: ClassVar[str]
    hold_steps: ClassVar[int]
    max_steps: ClassVar[int]

    @staticmethod
    def sample(rng: np.random.Generator, variation: Variation) -> Layout:
        """Draw a scene in which the task is not yet done. Raises `NoRoomError` when it is too crowded."""
        ...

    def __init__(self, scene: Scene) -> None: ...

    def achieved(self) -> bool:
        """Whether the goal state holds now."""
        ...

    def progress(self) -> float:
        """How far the episode has come, from 0 at its start to 1 at the goal."""
        ...


def moved_with_spawns(xy: tuple[float, float], variation: Variation) -> tuple[float, float]:
    """Move the place of something large by `FOLLOW` of what the variation moves the spawn region by, metres."""
    here, nominal = ((v.spawn_low, v.spawn_high) for v in (variation, NOMINAL))
    shift = FOLLOW * (np.add(*here) - np.add(*nominal)) / 2.0
    moved = np.array(xy) + shift
    return float(moved[0]), float(moved[1])


def fraction(remaining: float, initial: float) -> float:
    """Share in [0, 1] of an `initial` distance that is covered when `remaining` of it is left."""
    return float(np.clip(1.0 - remaining / max(initial, 1e-6), 0.0, 1.0))
