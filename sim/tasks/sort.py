"""Sort: put the named object into the bin that the instruction names, the left or the right one."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sim.layout import Layout
from sim.scene import Scene
from sim.suites import Variation
from sim.tasks.base import REST_SPEED, fraction
from sim.tasks.pick import held
from sim.tasks.place import around_bin, in_bin
from sim.tasks.sampling import LEFT, RIGHT, draw_distractors, draw_object, draw_pair

SIDES = ("left", "right")


class Sort:
    """Success: the object lies in the named bin, at rest and released by both hands, for 0.3 s.

    The bins stand side by side behind the objects; left and right are the operator's.
    """

    name: ClassVar[str] = "sort"
    robot: ClassVar[str] = "aloha"
    hold_steps: ClassVar[int] = 8
    max_steps: ClassVar[int] = 400

    @staticmethod
    def sample(rng: np.random.Generator, variation: Variation) -> Layout:
        """Draw the bins, which of them is asked for, then the named object and its distractors clear of both."""
        x, y = float(rng.uniform(0.70, 0.74)), float(rng.uniform(-0.02, 0.02))
        bins = ((x, y + 0.10), (x, y - 0.10))
        side = int(rng.integers(2))
        pair = draw_pair(rng, variation)
        walls = [point for middle in bins for point in around_bin(middle)]
        target = draw_object(rng, variation, pair, list(walls))
        distractors = draw_distractors(rng, variation, [pair], [target.xy, *walls], most=4)
        return Layout(
            (target, *distractors),
            {"object": " ".join(pair), "bin": SIDES[side]},
            bins=(bins[side], bins[1 - side]),
        )

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._start_tool = self._tool_distance()
        self._start_bin = self._bin_distance()

    def _tool_distance(self) -> float:
        item = self._scene.object_position(0)
        return min(float(np.linalg.norm(self._scene.tool_position(arm) - item)) for arm in (LEFT, RIGHT))

    def _bin_distance(self) -> float:
        return float(np.linalg.norm(self._scene.object_position(0)[:2] - np.asarray(self._scene.layout.bins[0])))

    def _held(self) -> bool:
        return held(self._scene, 0, LEFT) or held(self._scene, 0, RIGHT)

    def achieved(self) -> bool:
        """Whether the object lies in the named bin, released and at rest."""
        scene = self._scene
        released = not (scene.touches_gripper(0, LEFT) or scene.touches_gripper(0, RIGHT))
        return in_bin(scene, 0) and released and scene.object_speed(0) < REST_SPEED

    def progress(self) -> float:
        """A third each for reaching the object, carrying it over its bin, and leaving it there."""
        if self.achieved():
            return 1.0
        if self._held() or in_bin(self._scene, 0):
            return (1.0 + fraction(self._bin_distance(), self._start_bin)) / 3.0
        return fraction(self._tool_distance(), self._start_tool) / 3.0
