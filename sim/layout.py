"""Plain data that says where everything of an episode stands. Lengths in metres, angles in radians, base frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ObjectLayout:
    """A free object on the table.

    Attributes:
        shape: `cube`, `cylinder` or `ball`.
        colour: name in `sim.appearance.COLOURS`.
        half_size: half edge of a cube, radius (and half height) of a cylinder, radius of a ball.
        xy: position of its centre on the table.
        yaw: rotation about the vertical.
    """

    shape: str
    colour: str
    half_size: float
    xy: tuple[float, float]
    yaw: float


@dataclass(frozen=True, slots=True)
class ZoneLayout:
    """A coloured disc painted on the table."""

    colour: str
    xy: tuple[float, float]


@dataclass(frozen=True, slots=True)
class CabinetLayout:
    """A cabinet with two drawers side by side that slide towards the robot.

    Attributes:
        colours: colours of the left (+y) and right (-y) drawer.
        xy: middle of the cabinet's front.
    """

    colours: tuple[str, str]
    xy: tuple[float, float]


@dataclass(frozen=True, slots=True)
class PropLayout:
    """A prop on the table.

    Attributes:
        name: `tray`, `peg` or `socket` (see `sim.props`).
        colour: name in `sim.appearance.COLOURS`.
        xy: position of its centre on the table.
        yaw: rotation about the vertical.
    """

    name: str
    colour: str
    xy: tuple[float, float]
    yaw: float


@dataclass(frozen=True, slots=True)
class Layout:
    """One episode's scene.

    Attributes:
        objects: at most `sim.scene.OBJECT_SLOTS`; what a task asks for comes first, distractors after it.
        words: what the instruction names, by role (`object`, `zone`, `base`, `drawer`, `bin`, `tray`, `peg`, `socket`).
        bins: middles of the bins; the one that a task asks for comes first.
        zones: painted discs; the one that a task asks for comes first.
        cabinet: or None.
        target_drawer: index into `cabinet.colours` of the drawer that a task asks for.
        props: each prop at most once.
    """

    objects: tuple[ObjectLayout, ...]
    words: dict[str, str]
    bins: tuple[tuple[float, float], ...] = ()
    zones: tuple[ZoneLayout, ...] = ()
    cabinet: CabinetLayout | None = None
    target_drawer: int = 0
    props: tuple[PropLayout, ...] = ()


class NoRoomError(RuntimeError):
    """The sampler found no free place; the caller draws the whole layout anew."""


def free_place(
    rng: np.random.Generator,
    low: tuple[float, float],
    high: tuple[float, float],
    taken: list[tuple[float, float]],
    clearance: float,
) -> tuple[float, float]:
    """Draw a point of the box `low`..`high` that is at least `clearance` away from every point of `taken`.

    Raises:
        NoRoomError: none was found in 200 draws.
    """
    others: NDArray[np.float64] = np.asarray(taken, dtype=np.float64).reshape(-1, 2)
    for _ in range(200):
        point = rng.uniform(low, high)
        if len(others) == 0 or np.linalg.norm(others - point, axis=1).min() >= clearance:
            return float(point[0]), float(point[1])
    raise NoRoomError(f"no place at least {clearance} m from {len(taken)} others between {low} and {high}")
