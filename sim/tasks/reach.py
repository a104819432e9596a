"""Reach: bring the tool close above the named object."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sim.layout import Layout
from sim.scene import Scene
from sim.suites import Variation
from sim.tasks.base import fraction
from sim.tasks.sampling import draw_distractors, draw_object, draw_pair

HOVER = 0.05
TOLERANCE = 0.03


def reach_goal(scene: Scene) -> np.ndarray:
    """(3,) m: the point `HOVER` above the top of the named object."""
    goal = scene.object_position(0)
    goal[2] += scene.layout.objects[0].half_size + HOVER
    return goal


class Reach:
    """Success: the tool centre point stays within 3 cm of a point 5 cm above the object's top for 0.3 s."""

    name: ClassVar[str] = "reach"
    robot: ClassVar[str] = "panda"
    hold_steps: ClassVar[int] = 3
    max_steps: ClassVar[int] = 50

    @staticmethod
    def sample(rng: np.random.Generator, variation: Variation) -> Layout:
        """Draw the named object and its distractors."""
        taken: list[tuple[float, float]] = []
        pair = draw_pair(rng, variation)
        objects = [draw_object(rng, variation, pair, taken)]
        objects += draw_distractors(rng, variation, [pair], taken, most=5)
        return Layout(tuple(objects), {"object": " ".join(pair)})

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._start = self._distance()

    def _distance(self) -> float:
        return float(np.linalg.norm(self._scene.tool_position() - reach_goal(self._scene)))

    def achieved(self) -> bool:
        """Whether the tool is within the tolerance."""
        return self._distance() < TOLERANCE

    def progress(self) -> float:
        """Share of the initial distance to the tolerance that is covered."""
        return fraction(max(self._distance() - TOLERANCE, 0.0), self._start - TOLERANCE)
