"""Things of a fixed shape that only some tasks use: a tray with two handles, a peg, and a socket that the peg fits.

Lengths in metres. Each is a free body; the tray's handles lie on its y axis, peg and socket along their x axes.
"""

from __future__ import annotations

import mujoco

TRAY_HALF_LENGTH = 0.17
TRAY_HALF_WIDTH = 0.07
HANDLE_HEIGHT = 0.034
"""Of the handles' grasp points above the tray's underside."""

HANDLE_HALF_WIDTH = 0.013

PEG_HALF_LENGTH = 0.07
PEG_HALF_WIDTH = 0.011
SOCKET_HALF_LENGTH = 0.05
SOCKET_HALF_BORE = 0.016
"""5 mm more than the peg on each side."""

SOCKET_HALF_WIDTH = 0.021

REST_HEIGHT: dict[str, float] = {"tray": 0.003, "peg": PEG_HALF_WIDTH, "socket": SOCKET_HALF_WIDTH}
"""Height of a prop's origin above the table that it lies on, by name of the prop."""

_DENSITY = 400.0
_BOX = mujoco.mjtGeom.mjGEOM_BOX


def add_props(world: mujoco.MjsBody, positions: dict[str, tuple[float, float, float]]) -> None:
    """Add the props to a scene, at `positions` (x, y, z) by name."""
    for name, add in (("tray", _add_tray), ("peg", _add_peg), ("socket", _add_socket)):
        body = world.add_body(name=name, pos=positions[name])
        body.add_freejoint(name=name)
        add(body)


def _add_box(body: mujoco.MjsBody, size: tuple[float, float, float], pos: tuple[float, float, float]) -> None:
    body.add_geom(
        type=_BOX, size=size, pos=pos, density=_DENSITY, condim=4, friction=(1.0, 0.01, 0.002), solref=(0.01, 1.0)
    )


def _add_tray(body: mujoco.MjsBody) -> None:
    _add_box(body, (TRAY_HALF_WIDTH, TRAY_HALF_LENGTH, 0.003), (0, 0, 0))
    for side, name in ((1, "left"), (-1, "right")):
        y = side * (TRAY_HALF_LENGTH - 0.014)
        _add_box(body, (HANDLE_HALF_WIDTH, 0.014, 0.022), (0, y, 0.025))
        body.add_site(name=f"tray_{name}", pos=(0, y, HANDLE_HEIGHT - 0.003))


def _add_peg(body: mujoco.MjsBody) -> None:
    _add_box(body, (PEG_HALF_LENGTH, PEG_HALF_WIDTH, PEG_HALF_WIDTH), (0, 0, 0))


def _add_socket(body: mujoco.MjsBody) -> None:
    wall = 0.5 * (SOCKET_HALF_WIDTH - SOCKET_HALF_BORE)
    middle = SOCKET_HALF_BORE + wall
    for sign in (-1, 1):
        _add_box(body, (SOCKET_HALF_LENGTH, wall, SOCKET_HALF_WIDTH), (0, sign * middle, 0))
        _add_box(body, (SOCKET_HALF_LENGTH, SOCKET_HALF_BORE, wall), (0, 0, sign * middle))
