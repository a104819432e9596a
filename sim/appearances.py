"""Pictures of things on a table, plain and in other looks, every pixel known: `python -m sim.appearances --output DIR`.

What an appearance randomisation is measured by. Half of what is drawn has the plain look: one table, one lamp, objects
of the usual colours. The other half has textures on table, wall and some objects, and another direction, strength and
tint of the light; its textures are drawn here and nowhere else. Places are drawn alike in both. `segmentation` tells
the shape that each pixel shows, `changed` whether the look is another. The format is that of
`representation.data.frames`.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import mujoco
import numpy as np
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from representation.data.frames import SEGMENTATION, Frames, expect_empty, write_frames
from sim.appearance import COLOURS
from sim.rendering import OffscreenRenderer
from sim.scene import look_at

KINDS = ("other", "box", "ball", "cylinder")
TEXTURES, TEXTURE_SIDE = 24, 64
MOST_OBJECTS, HALF, REACH = 4, 0.034, 0.13  # m
PLAIN_LIGHT, PLAIN_AMBIENT = 0.6, 0.3
_TYPES = {"box": "box", "ball": "sphere", "cylinder": "cylinder"}


@dataclass(frozen=True)
class AppearanceOptions:
    """What is drawn.

    Attributes:
        output: directory to write; must not hold files.
        count: pictures of the plain look, and as many of others.
        size: side of the pictures, pixels.
        seed: of everything that is drawn.
    """

    output: Path
    count: int = 450
    size: int = 64
    seed: int = 0


def draw_texture(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A texture (64, 64, 3) of two colours: cells about random points, rings, a checker board or layered noise."""
    pair = [np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0, 0.7), rng.uniform(0.25, 0.95))) for _ in "ab"]
    side = TEXTURE_SIDE
    y, x = np.mgrid[:side, :side] / side
    kind = rng.integers(4)
    if kind == 0:
        points = rng.uniform(size=(12, 2))
        share = np.sort(np.hypot(x[..., None] - points[:, 0], y[..., None] - points[:, 1]), axis=2)
        share = (share[..., 1] - share[..., 0]) * 6
    elif kind == 1:
        share = 0.5 + 0.5 * np.sin(rng.uniform(20, 50) * np.hypot(x - rng.uniform(), y - rng.uniform()))
    elif kind == 2:
        cells = rng.integers(3, 9)
        share = ((x * cells).astype(int) + (y * cells).astype(int)) % 2
    else:
        layers = [
            cv2.resize(rng.uniform(size=(cells, cells)), (side, side), interpolation=cv2.INTER_CUBIC)
            for cells in (4, 8, 16, 32)
        ]
        share = np.mean(layers, axis=0)
    share = np.clip(share, 0, 1)[..., None]
    return np.rint(255 * (share * pair[0] + (1 - share) * pair[1])).astype(np.uint8)


class TexturedTable:
    """Up to four objects on a table before a wall, whose materials are changed between pictures.

    Args:
        size: side of the pictures, pixels.
        rng: draws the textures.
    """

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        spec = mujoco.MjSpec()
        spec.visual.headlight.diffuse, spec.visual.headlight.specular = np.zeros(3), np.zeros(3)
        for number in range(TEXTURES):
            name = f"texture{number}"
            spec.add_texture(
                name=name,
                type=mujoco.mjtTexture.mjTEXTURE_2D,
                width=TEXTURE_SIDE,
                height=TEXTURE_SIDE,
                nchannel=3,
                data=draw_texture(rng).ravel().tolist(),
            )
            material = spec.add_material(name=name, texrepeat=(4, 4) if number % 2 else (2, 2))
            material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB.value] = name
        world = spec.worldbody
        world.add_light(name="lamp", pos=(0, 0, 1.5), type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL)
        world.add_camera(name="eye", fovy=40.0)
        world.add_geom(name="table", type=mujoco.mjtGeom.mjGEOM_BOX, size=(0.4, 0.4, 0.01), pos=(0, 0, -0.01))
        world.add_geom(name="wall", type=mujoco.mjtGeom.mjGEOM_BOX, size=(1.5, 0.01, 1.5), pos=(0, 0.7, 0))
        for slot in range(MOST_OBJECTS):
            body = world.add_body(name=f"object{slot}", mocap=True)
            body.add_geom(name=f"object{slot}", type=mujoco.mjtGeom.mjGEOM_BOX, size=(HALF,) * 3)
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        self._renderer = OffscreenRenderer(self._model, size, size, "fast")

    def picture(self, changed: bool, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """A picture (S, S, 3), and what it shows (S, S), numbers in `KINDS`."""
        model, data = self._model, self._data
        kinds = np.zeros(model.ngeom + 1, np.uint8)  # the last entry is for no geom
        for slot, kind in enumerate(self._place(rng)):
            kinds[model.geom(f"object{slot}").id] = kind
        self._colour(changed, rng)
        eye = np.array([0.0, -0.42, 0.34]) + rng.uniform(-0.05, 0.05, 3)
        model.camera("eye").pos, model.camera("eye").quat = eye, look_at(eye, np.array([0.0, 0.02, 0.0]))
        mujoco.mj_forward(model, data)
        return self._renderer.render(data, "eye")[0], kinds[self._renderer.render_geoms(data, "eye")]

    def _place(self, rng: np.random.Generator) -> list[int]:
        """Put objects down, apart from each other; the numbers of their kinds, 0 for one that is out of sight."""
        corners = [(x, y) for x in (-1, 1) for y in (-1, 1)]
        count, found = int(rng.integers(2, MOST_OBJECTS + 1)), []
        for slot, corner in enumerate(rng.permutation(corners)):
            kind = int(rng.integers(1, len(KINDS))) if slot < count else 0
            geom, half = self._model.geom(f"object{slot}"), HALF * rng.uniform(0.75, 1.1)
            shape = KINDS[max(kind, 1)]
            geom.type = getattr(mujoco.mjtGeom, f"mjGEOM_{_TYPES[shape].upper()}").value
            geom.size = (half, half, half)
            self._model.geom_rbound[geom.id] = 2 * half
            place = REACH / 2 * corner + rng.uniform(-0.3, 0.3, 2) * REACH
            turn = rng.uniform(-np.pi, np.pi)
            self._data.mocap_pos[slot] = (*place, half) if kind else (0.0, 0.0, -2.0)
            self._data.mocap_quat[slot] = (np.cos(turn / 2), 0, 0, np.sin(turn / 2))
            found.append(kind)
        return found

    def _colour(self, changed: bool, rng: np.random.Generator) -> None:
        """Colours, textures and light of the plain look, or of another."""
        model, light = self._model, self._model.light("lamp")
        usual = list(COLOURS.values())
        for slot in range(MOST_OBJECTS):
            geom = model.geom(f"object{slot}")
            geom.rgba = (*usual[rng.integers(len(usual))], 1.0)
            geom.matid = -1
        table, wall = model.geom("table"), model.geom("wall")
        table.rgba, wall.rgba = (0.62, 0.58, 0.53, 1.0), (0.36, 0.39, 0.42, 1.0)
        table.matid = wall.matid = -1
        light.dir, light.diffuse = (0.1, 0.25, -1.0), (PLAIN_LIGHT,) * 3
        model.vis.headlight.ambient[:] = PLAIN_AMBIENT
        if not changed:
            return
        for geom in (table, wall):
            geom.matid, geom.rgba = rng.integers(TEXTURES), 1.0
        for slot in range(MOST_OBJECTS):
            geom = model.geom(f"object{slot}")
            if rng.random() < 0.3:
                geom.matid, geom.rgba = rng.integers(TEXTURES), 1.0
            else:
                geom.rgba = (*rng.uniform(0.05, 0.95, 3), 1.0)
        tint = 1 + rng.uniform(-0.25, 0.25, 3)
        around, tilt = rng.uniform(-np.pi, np.pi), rng.uniform(0.2, 0.9)
        light.dir = (np.sin(tilt) * np.cos(around), np.sin(tilt) * np.sin(around), -np.cos(tilt))
        light.diffuse = PLAIN_LIGHT * rng.uniform(0.4, 1.5) * tint
        model.vis.headlight.ambient[:] = PLAIN_AMBIENT * rng.uniform(0.4, 1.3) * tint

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()


def appearances(options: AppearanceOptions) -> Frames:
    """Draw the pictures, the plain ones first.

    Returns:
        Frames with the columns `segmentation` and `changed` (0 or 1); each picture is an episode of its own.
    """
    rng = np.random.default_rng(options.seed)
    table = TexturedTable(options.size, rng)
    changed = np.repeat((0, 1), options.count)
    drawn = [table.picture(bool(one), rng) for one in tqdm(changed, desc="pictures", unit="picture")]
    table.close()
    images, shown = (np.stack(part) for part in zip(*drawn, strict=True))
    columns = {SEGMENTATION: shown, "changed": changed}
    return Frames(images, np.arange(len(images)), columns, {SEGMENTATION: KINDS, "changed": ("plain", "changed")})


def main(args: Sequence[str] | None = None) -> None:
    """Draw and write from the command line."""
    options = tyro.cli(AppearanceOptions, args=args, description=__doc__)
    expect_empty(options.output)
    write_frames(appearances(options), options.output)


if __name__ == "__main__":
    main()
