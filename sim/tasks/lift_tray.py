"""Lift tray: both hands lift the tray by its handles and keep it level."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from sim.appearance import COLOURS
from sim.layout import Layout, PropLayout
from sim.props import REST_HEIGHT
from sim.scene import Scene
from sim.suites import Variation
from sim.tasks.base import fraction, moved_with_spawns
from sim.tasks.sampling import LEFT, RIGHT, draw_distractors

LIFT = 0.08
MAX_TILT = np.deg2rad(8.0)
HANDLES = {LEFT: "left", RIGHT: "right"}
_MAX_YAW = np.deg2rad(12.0)


class LiftTray:
    """Success: both hands hold the tray, 8 cm or more above the table and tilted by less than 8 degrees, for 0.5 s."""

    name: ClassVar[str] = "lift_tray"
    robot: ClassVar[str] = "aloha"
    hold_steps: ClassVar[int] = 13
    max_steps: ClassVar[int] = 300

    @staticmethod
    def sample(rng: np.random.Generator, variation: Variation) -> Layout:
        """Draw the tray between the arms, and distractors on its near side, out of the hands' way."""
        x, y = moved_with_spawns((float(rng.uniform(0.50, 0.56)), float(rng.uniform(-0.03, 0.03))), variation)
        colour = str(rng.choice(list(COLOURS)))
        tray = PropLayout("tray", colour, (x, y), float(rng.uniform(-_MAX_YAW, _MAX_YAW)))
        near_side = replace(variation, spawn_low=(x - 0.26, -0.25), spawn_high=(x - 0.18, 0.25))
        distractors = draw_distractors(rng, near_side, [(colour, "tray")], [], most=3)
        return Layout(tuple(distractors), {"tray": colour}, props=(tray,))

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._start = self._distance()

    def _distance(self) -> float:
        """Of the hand that is further from its handle."""
        scene = self._scene
        ways = [scene.tool_position(arm) - scene.tray_handle(side) for arm, side in HANDLES.items()]
        return max(float(np.linalg.norm(way)) for way in ways)

    def _height(self) -> float:
        return float(self._scene.object_position("tray")[2] - REST_HEIGHT["tray"])

    def _held(self) -> bool:
        return all(self._scene.touches_gripper("tray", arm) for arm in (LEFT, RIGHT)) and self._distance() < 0.04

    def achieved(self) -> bool:
        """Whether both hands hold the tray, lifted and level."""
        upright = float(self._scene.object_rotation("tray")[2, 2])
        return self._held() and self._height() >= LIFT and upright > np.cos(MAX_TILT)

    def progress(self) -> float:
        """Half for bringing both hands to the handles, half for lifting."""
        if self._held():
            return 0.5 + 0.5 * float(np.clip(self._height() / LIFT, 0.0, 1.0))
        return 0.5 * fraction(self._distance(), self._start)
