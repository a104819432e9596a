"""Pick: lift the named object off the table and keep it in the hand."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sim.layout import Layout
from sim.scene import Scene
from sim.suites import Variation
from sim.tasks.base import fraction
from sim.tasks.sampling import draw_distractors, draw_object, draw_pair

LIFT = 0.08
GRASP_RADIUS = 0.035


def held(scene: Scene, slot: int, arm: int = 0) -> bool:
    """Whether an object is between an arm's fingers: touched, and its centre near the tool centre point."""
    offset = float(np.linalg.norm(scene.object_position(slot) - scene.tool_position(arm)))
    return offset < GRASP_RADIUS and scene.touches_gripper(slot, arm)


class Pick:
    """Success: the object is held, its lowest point 8 cm or more above the table, for 0.5 s."""

    name: ClassVar[str] = "pick"
    robot: ClassVar[str] = "panda"
    hold_steps: ClassVar[int] = 5
    max_steps: ClassVar[int] = 80

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
        self._start = float(np.linalg.norm(scene.tool_position() - scene.object_position(0)))

    def _height(self) -> float:
        return float(self._scene.object_position(0)[2] - self._scene.layout.objects[0].half_size)

    def achieved(self) -> bool:
        """Whether the object is held and lifted."""
        return self._height() >= LIFT and held(self._scene, 0)

    def progress(self) -> float:
        """Half for reaching the object, half for lifting it."""
        if held(self._scene, 0):
            return 0.5 + 0.5 * float(np.clip(self._height() / LIFT, 0.0, 1.0))
        distance = float(np.linalg.norm(self._scene.tool_position() - self._scene.object_position(0)))
        return 0.5 * fraction(distance, self._start)
