"""Insertion: the right hand puts the peg into the socket that the left hand holds, above the table."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sim.appearance import COLOURS
from sim.layout import Layout, PropLayout
from sim.props import PEG_HALF_LENGTH, SOCKET_HALF_BORE, SOCKET_HALF_LENGTH
from sim.scene import Scene
from sim.suites import Variation
from sim.tasks.base import fraction, moved_with_spawns
from sim.tasks.sampling import LEFT, RIGHT, draw_distractors

DEPTH = 0.04
HEIGHT = 0.06
PEG_GRIP = -0.045
"""Where the peg is grasped, along its axis from its middle, metres."""

HOLDERS = {LEFT: "socket", RIGHT: "peg"}
_MAX_YAW = np.deg2rad(15.0)


def grip(scene: Scene, arm: int) -> NDArray[np.float64]:
    """(3,) m, where an arm grasps its part."""
    part = HOLDERS[arm]
    along = PEG_GRIP if part == "peg" else 0.0
    return scene.object_position(part) + along * scene.object_rotation(part)[:, 0]


def insertion_depth(scene: Scene) -> float:
    """How deep (m) the peg's tip is in the socket, along the socket's axis; negative before its mouth or beside it."""
    tip = scene.object_position("peg") + PEG_HALF_LENGTH * scene.object_rotation("peg")[:, 0]
    x, y, z = scene.object_rotation("socket").T @ (tip - scene.object_position("socket"))
    depth = x + SOCKET_HALF_LENGTH
    return float(depth) if max(abs(y), abs(z)) < SOCKET_HALF_BORE else -abs(float(depth))


class Insertion:
    """Success: the peg's tip is 4 cm deep in the socket, peg and socket in their hands above the table, for 0.5 s."""

    name: ClassVar[str] = "insertion"
    robot: ClassVar[str] = "aloha"
    hold_steps: ClassVar[int] = 13
    max_steps: ClassVar[int] = 500

    @staticmethod
    def sample(rng: np.random.Generator, variation: Variation) -> Layout:
        """Draw the peg on the right, the socket on the left, and distractors on their near side."""
        peg_colour, socket_colour = rng.permutation(list(COLOURS))[:2].tolist()
        props = []
        for name, colour, side in (("peg", peg_colour, -1.0), ("socket", socket_colour, 1.0)):
            xy = (float(rng.uniform(0.46, 0.54)), side * float(rng.uniform(0.10, 0.18)))
            yaw = float(rng.uniform(-_MAX_YAW, _MAX_YAW))
            props.append(PropLayout(name, colour, moved_with_spawns(xy, variation), yaw))
        nearest = min(prop.xy[0] for prop in props)
        near_side = replace(variation, spawn_low=(nearest - 0.22, -0.25), spawn_high=(nearest - 0.14, 0.25))
        named = [(peg_colour, "peg"), (socket_colour, "socket")]
        distractors = draw_distractors(rng, near_side, named, [], most=3)
        return Layout(tuple(distractors), {"peg": peg_colour, "socket": socket_colour}, props=tuple(props))

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._start = {arm: self._tool_distance(arm) for arm in HOLDERS}
        self._start_gap = self._gap()

    def _tool_distance(self, arm: int) -> float:
        return float(np.linalg.norm(self._scene.tool_position(arm) - grip(self._scene, arm)))

    def _gap(self) -> float:
        scene = self._scene
        return float(np.linalg.norm(scene.object_position("peg") - scene.object_position("socket")))

    def _held(self, arm: int) -> bool:
        return self._tool_distance(arm) < 0.03 and self._scene.touches_gripper(HOLDERS[arm], arm)

    def achieved(self) -> bool:
        """Whether the peg is in the socket and both are held above the table."""
        heights = [self._scene.object_position(part)[2] for part in HOLDERS.values()]
        held = self._held(LEFT) and self._held(RIGHT)
        return held and min(heights) > HEIGHT and insertion_depth(self._scene) > DEPTH

    def progress(self) -> float:
        """A third each for reaching both parts, bringing them together, and pushing the peg in."""
        if self.achieved():
            return 1.0
        if self._held(LEFT) and self._held(RIGHT):
            inside = float(np.clip(insertion_depth(self._scene) / DEPTH, 0.0, 1.0))
            near = fraction(self._gap() - PEG_HALF_LENGTH - SOCKET_HALF_LENGTH, self._start_gap)
            return (1.0 + (1.0 if inside > 0.0 else near) + inside) / 3.0
        return min(fraction(self._tool_distance(arm), self._start[arm]) for arm in HOLDERS) / 3.0
