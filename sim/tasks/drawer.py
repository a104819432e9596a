"""Drawer: open the drawer of the named colour."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from sim.appearance import COLOURS
from sim.layout import CabinetLayout, Layout
from sim.scene import Scene
from sim.suites import Variation
from sim.tasks.base import fraction, moved_with_spawns
from sim.tasks.sampling import draw_distractors

OPEN = 0.10


class Drawer:
    """Success: the named drawer is open by 10 cm or more, for 0.3 s."""

    name: ClassVar[str] = "drawer"
    robot: ClassVar[str] = "panda"
    hold_steps: ClassVar[int] = 3
    max_steps: ClassVar[int] = 80

    @staticmethod
    def sample(rng: np.random.Generator, variation: Variation) -> Layout:
        """Draw the cabinet, its two colours, and distractors on the near side of the table, off the drawers' way."""
        xy = moved_with_spawns((rng.uniform(0.64, 0.68), rng.uniform(-0.06, 0.06)), variation)
        colours = tuple(rng.permutation(list(COLOURS))[:2].tolist())
        target = int(rng.integers(2))
        near_side = replace(variation, spawn_low=(0.28, -0.26), spawn_high=(0.38, 0.26))
        distractors = draw_distractors(rng, near_side, [(colours[target], "drawer")], [], most=4)
        return Layout(
            tuple(distractors),
            {"drawer": colours[target]},
            cabinet=CabinetLayout((colours[0], colours[1]), xy),
            target_drawer=target,
        )

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._target = scene.layout.target_drawer
        self._start = self._distance()

    def _distance(self) -> float:
        return float(np.linalg.norm(self._scene.tool_position() - self._scene.handle_position(self._target)))

    def achieved(self) -> bool:
        """Whether the named drawer is open far enough."""
        return self._scene.drawer_opening(self._target) >= OPEN

    def progress(self) -> float:
        """Half for reaching the handle, half for opening."""
        opening = self._scene.drawer_opening(self._target)
        if opening > 0.01:
            return 0.5 + 0.5 * float(np.clip(opening / OPEN, 0.0, 1.0))
        return 0.5 * fraction(self._distance(), self._start)
