"""Stack: put one named object on top of another."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sim.layout import Layout
from sim.scene import Scene
from sim.suites import Variation
from sim.tasks.base import REST_SPEED, fraction
from sim.tasks.pick import held
from sim.tasks.sampling import draw_distractors, draw_object, draw_pair

STACKABLE = ("cube", "cylinder")


def stacked(scene: Scene) -> bool:
    """Whether object 0 rests on object 1: in contact, above it, and centred to within its half size."""
    top, base = scene.object_position(0), scene.object_position(1)
    halves = scene.layout.objects[0].half_size + scene.layout.objects[1].half_size
    centred = np.linalg.norm(top[:2] - base[:2]) < scene.layout.objects[1].half_size
    return bool(centred and abs(top[2] - base[2] - halves) < 0.01 and scene.touch(0, 1))


class Stack:
    """Success: the object stands on the other one, released and at rest, for 0.5 s."""

    name: ClassVar[str] = "stack"
    robot: ClassVar[str] = "panda"
    hold_steps: ClassVar[int] = 5
    max_steps: ClassVar[int] = 120

    @staticmethod
    def sample(rng: np.random.Generator, variation: Variation) -> Layout:
        """Draw the two named objects, of different colours, and distractors."""
        taken: list[tuple[float, float]] = []
        top = draw_pair(rng, variation, shapes=STACKABLE)
        base = draw_pair(rng, variation, shapes=STACKABLE, avoid_colours=(top[0],))
        objects = [draw_object(rng, variation, pair, taken) for pair in (top, base)]
        objects += draw_distractors(rng, variation, [top, base], taken, most=4)
        return Layout(tuple(objects), {"object": " ".join(top), "base": " ".join(base)})

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._start_tool = float(np.linalg.norm(scene.tool_position() - scene.object_position(0)))
        self._start_base = self._base_distance()

    def _base_distance(self) -> float:
        return float(np.linalg.norm((self._scene.object_position(0) - self._scene.object_position(1))[:2]))

    def achieved(self) -> bool:
        """Whether the object stands on the other one, released and at rest."""
        scene = self._scene
        return stacked(scene) and not scene.touches_gripper(0) and scene.object_speed(0) < REST_SPEED

    def progress(self) -> float:
        """A third each for reaching the object, carrying it over the other one, and leaving it there."""
        if self.achieved():
            return 1.0
        if held(self._scene, 0) or stacked(self._scene):
            return (1.0 + fraction(self._base_distance(), self._start_base)) / 3.0
        distance = float(np.linalg.norm(self._scene.tool_position() - self._scene.object_position(0)))
        return fraction(distance, self._start_tool) / 3.0
