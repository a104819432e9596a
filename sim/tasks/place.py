"""Place: put the named object into the bin."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sim.layout import Layout
from sim.scene import BIN_HALF_WIDTH, BIN_WALL_HEIGHT, Scene
from sim.suites import Variation
from sim.tasks.base import REST_SPEED, fraction
from sim.tasks.pick import held
from sim.tasks.sampling import draw_distractors, draw_object, draw_pair

_BIN_CLEARANCE = 0.15


def in_bin(scene: Scene, slot: int) -> bool:
    """Whether an object's centre is between the walls of the bin that is asked for and below their top."""
    position = scene.object_position(slot)
    inside = np.abs(position[:2] - np.asarray(scene.layout.bins[0])).max() < BIN_HALF_WIDTH
    return bool(inside and position[2] < BIN_WALL_HEIGHT + 0.01)


class Place:
    """Success: the object lies in the bin, at rest and released, for 0.3 s."""

    name: ClassVar[str] = "place"
    robot: ClassVar[str] = "panda"
    hold_steps: ClassVar[int] = 3
    max_steps: ClassVar[int] = 100

    @staticmethod
    def sample(rng: np.random.Generator, variation: Variation) -> Layout:
        """Draw the bin on either side, then the named object and its distractors clear of it."""
        side = float(rng.choice((-1.0, 1.0)))
        bin_xy = (float(rng.uniform(0.42, 0.56)), side * float(rng.uniform(0.17, 0.22)))
        pair = draw_pair(rng, variation)
        blocked = [(bin_xy[0], bin_xy[1])]
        target = draw_object(rng, variation, pair, blocked, clearance=_BIN_CLEARANCE)
        taken = [target.xy]
        distractors = draw_distractors(rng, variation, [pair], taken + around_bin(bin_xy), most=5)
        return Layout((target, *distractors), {"object": " ".join(pair)}, bins=(bin_xy,))

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._start_tool = float(np.linalg.norm(scene.tool_position() - scene.object_position(0)))
        self._start_bin = self._bin_distance()

    def _bin_distance(self) -> float:
        return float(np.linalg.norm(self._scene.object_position(0)[:2] - np.asarray(self._scene.layout.bins[0])))

    def achieved(self) -> bool:
        """Whether the object lies in the bin, released and at rest."""
        scene = self._scene
        return in_bin(scene, 0) and not scene.touches_gripper(0) and scene.object_speed(0) < REST_SPEED

    def progress(self) -> float:
        """A third each for reaching the object, carrying it over the bin, and leaving it there."""
        if self.achieved():
            return 1.0
        carried = fraction(self._bin_distance(), self._start_bin)
        if held(self._scene, 0) or in_bin(self._scene, 0):
            return (1.0 + carried) / 3.0
        distance = float(np.linalg.norm(self._scene.tool_position() - self._scene.object_position(0)))
        return fraction(distance, self._start_tool) / 3.0


def around_bin(middle: tuple[float, float]) -> list[tuple[float, float]]:
    """Points around the bin that keep distractors off its walls."""
    reach = BIN_HALF_WIDTH + 0.01
    return [(middle[0] + dx, middle[1] + dy) for dx in (-reach, 0.0, reach) for dy in (-reach, 0.0, reach)]
