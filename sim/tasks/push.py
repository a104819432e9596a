"""Push: slide the named object into the named coloured zone."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sim.appearance import COLOURS
from sim.layout import Layout, NoRoomError, ZoneLayout, free_place
from sim.scene import ZONE_RADIUS, Scene
from sim.suites import Variation
from sim.tasks.base import REST_SPEED, fraction
from sim.tasks.sampling import draw_distractors, draw_object, draw_pair

SHAPES_TO_PUSH = ("cube", "cylinder")
_DISTANCE = (0.11, 0.17)
_MAX_BEARING = np.deg2rad(50.0)
_LOW, _HIGH = (0.36, -0.26), (0.68, 0.26)


class Push:
    """Success: the object's centre is within the zone and at rest on the table, for 0.3 s.

    The zone lies 11 to 17 cm away from the object, within 50 degrees of straight ahead of the robot; a second zone of
    another colour lies elsewhere.
    """

    name: ClassVar[str] = "push"
    robot: ClassVar[str] = "panda"
    hold_steps: ClassVar[int] = 3
    max_steps: ClassVar[int] = 100

    @staticmethod
    def sample(rng: np.random.Generator, variation: Variation) -> Layout:
        """Draw the object, the zone ahead of it, a corridor that stays free, the other zone, and distractors."""
        pair = draw_pair(rng, variation, shapes=SHAPES_TO_PUSH)
        target = draw_object(rng, variation, pair, [])
        bearing = rng.uniform(-_MAX_BEARING, _MAX_BEARING)
        direction = np.array((np.cos(bearing), np.sin(bearing)))
        zone = np.asarray(target.xy) + rng.uniform(*_DISTANCE) * direction
        if not ((zone > _LOW) & (zone < _HIGH)).all():
            raise NoRoomError("the zone falls off the reachable table")
        colours = rng.permutation([c for c in COLOURS if c != pair[0]])[:2].tolist()
        corridor = [tuple((np.asarray(target.xy) + s * direction).tolist()) for s in np.arange(-0.08, 0.24, 0.04)]
        other = free_place(rng, _LOW, _HIGH, [tuple(zone.tolist()), target.xy], 2.6 * ZONE_RADIUS)
        distractors = draw_distractors(rng, variation, [pair], corridor, most=5)
        return Layout(
            (target, *distractors),
            {"object": " ".join(pair), "zone": colours[0]},
            zones=(ZoneLayout(colours[0], tuple(zone.tolist())), ZoneLayout(colours[1], other)),
        )

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._start = self._distance()

    def _distance(self) -> float:
        return float(np.linalg.norm(self._scene.object_position(0)[:2] - self._scene.layout.zones[0].xy))

    def achieved(self) -> bool:
        """Whether the object rests in the zone, on the table."""
        scene = self._scene
        on_table = scene.object_position(0)[2] < 0.04
        return self._distance() < ZONE_RADIUS and on_table and scene.object_speed(0) < REST_SPEED

    def progress(self) -> float:
        """Share of the object's initial distance to the zone's edge that is covered."""
        return fraction(max(self._distance() - ZONE_RADIUS, 0.0), self._start - ZONE_RADIUS)
