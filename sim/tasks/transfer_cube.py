"""Transfer cube: the right hand picks the named cube and hands it over to the left one."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sim.layout import Layout
from sim.scene import Scene
from sim.suites import Variation
from sim.tasks.base import fraction
from sim.tasks.pick import held
from sim.tasks.sampling import LEFT, RIGHT, draw_distractors, draw_object, draw_pair, side_of

LIFT = 0.06


class TransferCube:
    """Success: the left hand alone holds the cube, its lowest point 6 cm or more above the table, for 0.5 s.

    The cube starts on the right side of the table.
    """

    name: ClassVar[str] = "transfer_cube"
    robot: ClassVar[str] = "aloha"
    hold_steps: ClassVar[int] = 13
    max_steps: ClassVar[int] = 400

    @staticmethod
    def sample(rng: np.random.Generator, variation: Variation) -> Layout:
        """Draw the cube on the right and distractors."""
        taken: list[tuple[float, float]] = []
        pair = draw_pair(rng, variation, shapes=("cube",))
        objects = [draw_object(rng, side_of(variation, RIGHT), pair, taken)]
        objects += draw_distractors(rng, variation, [pair], taken, most=4)
        return Layout(tuple(objects), {"object": " ".join(pair)})

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._start = self._distance(RIGHT)

    def _distance(self, arm: int) -> float:
        return float(np.linalg.norm(self._scene.tool_position(arm) - self._scene.object_position(0)))

    def _height(self) -> float:
        return float(self._scene.object_position(0)[2] - self._scene.layout.objects[0].half_size)

    def achieved(self) -> bool:
        """Whether the left hand alone holds the cube, lifted."""
        scene = self._scene
        return self._height() >= LIFT and held(scene, 0, LEFT) and not scene.touches_gripper(0, RIGHT)

    def progress(self) -> float:
        """A quarter each for reaching the cube, lifting it, bringing the left hand to it, and letting go."""
        scene = self._scene
        if self.achieved():
            return 1.0
        if held(scene, 0, LEFT):
            return 0.75
        if held(scene, 0, RIGHT):
            lifted = float(np.clip(self._height() / LIFT, 0.0, 1.0))
            return 0.25 + 0.25 * lifted + (0.25 * fraction(self._distance(LEFT), 0.25) if lifted == 1.0 else 0.0)
        return 0.25 * fraction(self._distance(RIGHT), self._start)
