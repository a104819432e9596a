"""Pictures of single objects, each in many surroundings: `python -m sim.subject_views --output runs/subjects`.

Objects of ten classes of household things, a few instances of each in colours and proportions of their own. From view
to view the object turns and leans, and camera, light, floor colour and floor texture are drawn anew: nothing but the
object itself tells which one it is. The format is that of `representation.data.frames`: `episode` is the object,
`label` its class, a text names the class, `mask` (H, W) has its pixels, `rotation` is how it stands in the camera's
optical frame (unit quaternion x, y, z, w), `background` (3,) the mean colour of all other pixels, in [0, 1].
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
import tyro
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from representation.data.frames import LABEL, MASK, Frames, expect_empty, write_frames
from sim.rendering import OffscreenRenderer
from sim.scene import look_at

Recipe = tuple[tuple[str, tuple[float, float, float], tuple[float, ...], tuple[float, float, float], int], ...]
"""Geoms: kind, place (m), half sizes (m), Euler angles (deg), and which of the object's two colours."""

KINDS: dict[str, Recipe] = {
    "mug": (
        ("cylinder", (0, 0, 0), (0.28, 0.32), (0, 0, 0), 0),
        ("capsule", (0.38, 0, 0), (0.05, 0.16), (0, 0, 0), 1),
        ("capsule", (0.32, 0, 0.17), (0.05, 0.07), (0, 90, 0), 1),
        ("capsule", (0.32, 0, -0.17), (0.05, 0.07), (0, 90, 0), 1),
    ),
    "bottle": (
        ("cylinder", (0, 0, -0.15), (0.2, 0.35), (0, 0, 0), 0),
        ("cylinder", (0, 0, 0.32), (0.08, 0.14), (0, 0, 0), 1),
    ),
    "hammer": (
        ("capsule", (0, 0, -0.1), (0.07, 0.4), (0, 0, 0), 0),
        ("box", (0.03, 0, 0.38), (0.28, 0.12, 0.11), (0, 0, 0), 1),
    ),
    "box": (
        ("box", (0, 0, 0), (0.36, 0.28, 0.22), (0, 0, 0), 0),
        ("box", (0, 0, 0.01), (0.37, 0.08, 0.23), (0, 0, 0), 1),
    ),
    "ball": (
        ("sphere", (0, 0, 0), (0.36,), (0, 0, 0), 0),
        ("cylinder", (0, 0, 0), (0.37, 0.06), (0, 0, 0), 1),
    ),
    "dumbbell": (
        ("sphere", (-0.36, 0, 0), (0.2,), (0, 0, 0), 0),
        ("sphere", (0.36, 0, 0), (0.2,), (0, 0, 0), 0),
        ("capsule", (0, 0, 0), (0.07, 0.3), (0, 90, 0), 1),
    ),
    "stool": (
        ("cylinder", (0, 0, 0.3), (0.36, 0.06), (0, 0, 0), 0),
        ("capsule", (0.2, 0.12, -0.05), (0.05, 0.32), (0, 0, 0), 1),
        ("capsule", (-0.2, 0.12, -0.05), (0.05, 0.32), (0, 0, 0), 1),
        ("capsule", (0, -0.23, -0.05), (0.05, 0.32), (0, 0, 0), 1),
    ),
    "lamp": (
        ("cylinder", (0, 0, -0.4), (0.26, 0.05), (0, 0, 0), 1),
        ("capsule", (0, 0, -0.1), (0.05, 0.28), (0, 0, 0), 1),
        ("ellipsoid", (0, 0, 0.25), (0.32, 0.32, 0.2), (0, 0, 0), 0),
    ),
    "duck": (
        ("ellipsoid", (0, 0, -0.12), (0.4, 0.26, 0.22), (0, 0, 0), 0),
        ("sphere", (0.26, 0, 0.2), (0.18,), (0, 0, 0), 0),
        ("ellipsoid", (0.46, 0, 0.18), (0.12, 0.08, 0.04), (0, 0, 0), 1),
    ),
    "cross": (
        ("box", (0, 0, 0), (0.42, 0.12, 0.12), (0, 0, 0), 0),
        ("box", (0, 0, 0), (0.12, 0.42, 0.12), (0, 0, 0), 1),
        ("box", (0, 0, 0), (0.11, 0.11, 0.3), (0, 0, 0), 0),
    ),
}
LEAN, REACH = np.pi / 4, 0.15  # rad, m
ELEVATION, DISTANCE = np.deg2rad((25.0, 65.0)), (2.2, 3.0)  # rad, m
OPTICAL = Rotation.from_quat((1.0, 0.0, 0.0, 0.0))  # MuJoCo's cameras look along -z with y up
TEXTURES = ("flat", "coarse", "fine", "gradient", "speckled")
_MODEL = """
<mujoco>
  <visual><headlight ambient="0.35 0.35 0.35" diffuse="0 0 0" specular="0 0 0"/></visual>
  <asset>
    <texture name="flat" type="2d" builtin="flat" rgb1="0.9 0.9 0.9" width="32" height="32"/>
    <texture name="coarse" type="2d" builtin="checker" rgb1="1 1 1" rgb2="0.5 0.5 0.5" width="64" height="64"/>
    <texture name="fine" type="2d" builtin="checker" rgb1="1 1 1" rgb2="0.6 0.6 0.6" width="64" height="64"/>
    <texture name="gradient" type="2d" builtin="gradient" rgb1="1 1 1" rgb2="0.4 0.4 0.4" width="64" height="64"/>
    <texture name="speckled" type="2d" builtin="flat" mark="random" random="0.1" rgb1="0.9 0.9 0.9"
             markrgb="0.3 0.3 0.3" width="64" height="64"/>
    <material name="flat" texture="flat"/>
    <material name="coarse" texture="coarse" texrepeat="0.6 0.6" texuniform="true"/>
    <material name="fine" texture="fine" texrepeat="2 2" texuniform="true"/>
    <material name="gradient" texture="gradient" texrepeat="0.4 0.4" texuniform="true"/>
    <material name="speckled" texture="speckled" texrepeat="0.5 0.5" texuniform="true"/>
  </asset>
  <worldbody>
    <light name="lamp" castshadow="false"/>
    <geom name="floor" type="plane" pos="0 0 -0.9" size="0 0 0.1" material="flat"/>
    <camera name="eye" fovy="35"/>
    <body name="object" mocap="true">{geoms}</body>
  </worldbody>
</mujoco>
"""


@dataclass(frozen=True)
class SubjectOptions:
    """What is drawn.

    Attributes:
        output: directory to write; must not hold files.
        classes: of objects, at most ten.
        instances: objects of each class.
        views: of each object.
        size: side of the pictures, pixels.
        seed: of everything that is drawn.
    """

    output: Path
    classes: int = 10
    instances: int = 2
    views: int = 32
    size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.classes <= len(KINDS) or min(self.instances, self.views) < 1 or self.size < 8:
            raise ValueError(
                f"classes, instances, views, size: expected 1 to {len(KINDS)}, and at least 1, 1 and 8, found {self}"
            )


def drawn_subject(kind: str, rng: np.random.Generator) -> str:
    """MJCF geoms of another instance of a kind, in two colours and proportions of its own."""
    hue = rng.uniform()
    colours = [
        colorsys.hsv_to_rgb((hue + turn) % 1, rng.uniform(0.5, 1), rng.uniform(0.45, 1))
        for turn in (0.0, rng.uniform(0.2, 0.8))
    ]
    stretch = rng.uniform(0.8, 1.2, 3)
    geoms = []
    for shape, place, sizes, angles, colour in KINDS[kind]:
        size = np.array(sizes) * rng.uniform(0.85, 1.15, len(sizes))
        quaternion = Rotation.from_euler("xyz", angles, degrees=True).as_quat(scalar_first=True)
        fields = {"pos": np.array(place) * stretch, "size": size, "quat": quaternion, "rgba": (*colours[colour], 1)}
        texts = " ".join(f'{name}="{" ".join(map(str, values))}"' for name, values in fields.items())
        geoms.append(f'<geom type="{shape}" {texts}/>')
    return "".join(geoms)


class SubjectScene:
    """An object above a floor.

    Args:
        geoms: of the object, as MJCF.
        size: side of the pictures, pixels.
    """

    def __init__(self, geoms: str, size: int) -> None:
        self._model = mujoco.MjModel.from_xml_string(_MODEL.format(geoms=geoms))
        self._data, self._renderer = mujoco.MjData(self._model), OffscreenRenderer(self._model, size, size, "fast")
        self._floor = self._model.geom("floor").id

    def view(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.float64]]:
        """A picture (S, S, 3), the pixels (S, S) of the object, and its rotation (4,) in the camera's optical frame."""
        turn = Rotation.from_euler("zxy", (rng.uniform(-np.pi, np.pi), *rng.uniform(-LEAN, LEAN, 2)))
        self._data.mocap_pos[0] = rng.uniform(-REACH, REACH, 3)
        self._data.mocap_quat[0] = turn.as_quat(scalar_first=True)
        eye, place = self._model.camera("eye"), rng.uniform(*DISTANCE) * _way(rng, ELEVATION)
        eye.pos[:], eye.quat[:] = place, look_at(place, np.zeros(3))
        self._light(rng)
        material = self._model.material(str(rng.choice(TEXTURES)))
        self._model.geom("floor").matid[:] = material.id
        material.rgba[:3] = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.2, 1), rng.uniform(0.3, 1))
        mujoco.mj_forward(self._model, self._data)
        picture = self._renderer.render(self._data, "eye")[0]
        shown = self._renderer.render_geoms(self._data, "eye")
        camera = Rotation.from_quat(eye.quat, scalar_first=True) * OPTICAL
        return picture, (shown >= 0) & (shown != self._floor), (camera.inv() * turn).as_quat(canonical=True)

    def _light(self, rng: np.random.Generator) -> None:
        way = _way(rng, (np.pi / 6, np.pi / 2))
        lamp = self._model.light("lamp")
        lamp.pos[:], lamp.dir[:] = 4 * way, -way
        lamp.diffuse[:] = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0, 0.4), rng.uniform(0.3, 0.9))
        self._model.vis.headlight.ambient[:] = rng.uniform(0.25, 0.55)

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()


def _way(rng: np.random.Generator, elevation: Sequence[float]) -> NDArray[np.float64]:
    """A direction, its elevation in a range, rad."""
    up, around = rng.uniform(elevation[0], elevation[1]), rng.uniform(-np.pi, np.pi)
    return np.array([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)])


def subject_views(classes: int, instances: int, views: int, size: int, seed: int) -> Frames:
    """Draw the pictures; arguments as in `SubjectOptions`.

    Returns:
        Frames with the columns of the module; objects of a class follow each other.
    """
    names = tuple(KINDS)[:classes]
    images, masks, rotations = [], [], []
    for number in tqdm(range(classes * instances), desc="objects", unit="object"):
        rng = np.random.default_rng((seed, number))
        scene = SubjectScene(drawn_subject(names[number // instances], rng), size)
        for _ in range(views):
            for found, value in zip((images, masks, rotations), scene.view(rng), strict=True):
                found.append(value)
        scene.close()
    pictures, mask = np.stack(images), np.stack(masks)
    around = (~mask)[..., None]
    background = (pictures * around).sum(axis=(1, 2)) / np.maximum(around.sum(axis=(1, 2)), 1) / 255
    objects = np.repeat(np.arange(classes * instances), views)
    label = objects // instances
    columns = {LABEL: label, MASK: mask, "rotation": np.stack(rotations), "background": background}
    return Frames(pictures, objects, columns, {LABEL: names}, [f"a {names[value]}" for value in label])


def main(args: Sequence[str] | None = None) -> None:
    """Draw and write."""
    options = tyro.cli(SubjectOptions, args=args, description=__doc__)
    expect_empty(options.output)
    frames = subject_views(options.classes, options.instances, options.views, options.size, options.seed)
    write_frames(frames, options.output)
    print(f"{options.output}: {len(frames)} pictures of {options.classes * options.instances} objects")


if __name__ == "__main__":
    main()
