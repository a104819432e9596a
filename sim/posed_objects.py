"""Pictures of objects in many rotations, which are written down: `python -m sim.posed_objects --output DIR`.

An analog of 3DIEBench: objects of some classes, each of four simple parts in colours of their own, so that every
rotation can be told. Floor and light change their colour, and the light its place, from view to view. The format is
that of `representation.data.frames`: `episode` is the object, `label` its class, `rotation` the unit quaternion x, y,
z, w.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
import tyro
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from representation.data.frames import LABEL, Frames, expect_empty, write_frames
from sim.rendering import OffscreenRenderer
from sim.scene import look_at

KINDS = ("box", "capsule", "ellipsoid", "cylinder")
PARTS = 4
CAMERA = 2.5 * np.array([0.0, np.sin(np.pi / 4), np.cos(np.pi / 4)])
LARGEST_ANGLE = np.pi / 2
_MODEL = """
<mujoco>
  <visual>
    <global offwidth="512" offheight="512"/>
    <headlight ambient="0.35 0.35 0.35" diffuse="0 0 0" specular="0 0 0"/>
  </visual>
  <worldbody>
    <light name="lamp" castshadow="false"/>
    <geom name="floor" type="plane" pos="0 0 -1" size="9 9 0.1"/>
    <camera name="eye" fovy="45"/>
    <body name="object" mocap="true">{parts}</body>
  </worldbody>
</mujoco>
"""


@dataclass(frozen=True)
class PosedOptions:
    """What is drawn.

    Attributes:
        output: directory to write; must not hold files.
        classes: of objects.
        instances: objects of each class, which differ a little.
        views: of each object.
        size: side of the pictures, pixels.
        seed: of everything that is drawn.
    """

    output: Path
    classes: int = 8
    instances: int = 24
    views: int = 16
    size: int = 48
    seed: int = 0


@dataclass(frozen=True)
class Part:
    """A part of an object: its kind, place and half sizes in metres, Euler angles in rad, and colour."""

    kind: str
    place: NDArray
    size: NDArray
    angles: NDArray
    color: NDArray

    def varied(self, rng: np.random.Generator) -> Part:
        """Another instance of the part."""
        color = (self.color + rng.uniform(-0.1, 0.1, 3)).clip(0, 1)
        place, size = self.place + rng.uniform(-0.05, 0.05, 3), self.size * rng.uniform(0.85, 1.15, 3)
        return Part(self.kind, place, size, self.angles, color)

    def xml(self) -> str:
        """Its geom."""
        quaternion = Rotation.from_euler("xyz", self.angles).as_quat(scalar_first=True)
        place, size, turn, color = (
            " ".join(map(str, values)) for values in (self.place, self.size, quaternion, self.color)
        )
        return f'<geom type="{self.kind}" pos="{place}" size="{size}" quat="{turn}" rgba="{color} 1"/>'


def draw_part(rng: np.random.Generator) -> Part:
    """A part of a class."""
    kind, places = str(rng.choice(KINDS)), rng.uniform(-0.45, 0.45, 3)
    return Part(kind, places, rng.uniform(0.12, 0.35, 3), rng.uniform(-np.pi, np.pi, 3), rng.uniform(0, 1, 3))


class PosedObject:
    """An object above a floor under a lamp, before a camera.

    Args:
        parts: of it.
        size: side of the pictures, pixels.
    """

    def __init__(self, parts: list[Part], size: int) -> None:
        self._model = mujoco.MjModel.from_xml_string(_MODEL.format(parts="".join(part.xml() for part in parts)))
        self._data, self._renderer = mujoco.MjData(self._model), OffscreenRenderer(self._model, size, size, "fast")
        eye = self._model.camera("eye")
        eye.pos[:], eye.quat[:] = CAMERA, look_at(CAMERA, np.zeros(3))

    def picture(self, angles: NDArray, floor: float, light: NDArray) -> NDArray[np.uint8]:
        """A picture (H, W, 3).

        Args:
            angles: of the object, extrinsic about x, y and z, rad.
            floor: its hue, in [0, 1].
            light: polar angle and azimuth of the lamp, rad, and its hue.
        """
        self._model.geom("floor").rgba[:3] = colorsys.hsv_to_rgb(floor, 0.6, 0.6)
        polar, around, hue = light
        way = np.array([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)])
        lamp = self._model.light("lamp")
        lamp.pos[:], lamp.dir[:] = 4 * way, -way
        lamp.diffuse[:] = colorsys.hsv_to_rgb(hue, 1.0, 0.8)
        self._data.mocap_quat[0] = Rotation.from_euler("xyz", angles).as_quat(scalar_first=True)
        mujoco.mj_forward(self._model, self._data)
        return self._renderer.render(self._data, "eye")[0]

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()


def posed_objects(classes: int, instances: int, views: int, size: int, seed: int) -> Frames:
    """Draw the pictures; arguments as in `PosedOptions`.

    Returns:
        Frames with the columns `label`, `rotation` (N, 4), `floor` (its hue) and `light` (N, 3), see `PosedObject`.
    """
    rng = np.random.default_rng(seed)
    kinds = [[draw_part(rng) for _ in range(PARTS)] for _ in range(classes)]
    count = classes * instances * views
    angles = rng.uniform(-LARGEST_ANGLE, LARGEST_ANGLE, (count, 3))
    floors = rng.uniform(0, 1, count)
    lights = rng.uniform(0, 1, (count, 3)) * (np.pi / 4, 2 * np.pi, 1.0)
    images = []
    for number in tqdm(range(classes * instances), desc="objects", unit="object"):
        scene = PosedObject([part.varied(rng) for part in kinds[number % classes]], size)
        for row in range(number * views, (number + 1) * views):
            images.append(scene.picture(angles[row], floors[row], lights[row]))
        scene.close()
    objects = np.arange(count) // views
    rotation = Rotation.from_euler("xyz", angles).as_quat()
    columns = {LABEL: objects % classes, "rotation": rotation, "floor": floors, "light": lights}
    return Frames(np.stack(images), objects, columns, {LABEL: tuple(f"class {n}" for n in range(classes))})


def main() -> None:
    """Draw and write."""
    options = tyro.cli(PosedOptions, description=__doc__)
    expect_empty(options.output)
    frames = posed_objects(options.classes, options.instances, options.views, options.size, options.seed)
    write_frames(frames, options.output)
    print(f"{options.output}: {len(frames)} pictures of {options.classes * options.instances} objects")


if __name__ == "__main__":
    main()
