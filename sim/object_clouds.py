"""Clouds of objects before a depth camera, with all that a grasp asks for: `python -m sim.object_clouds --output DIR`.

Objects of some classes, each of four simple parts, the first of which is its handle. Half of each object's views show
it standing upright, turned about the vertical alone, the other half in any rotation. The camera looks down on it from
the side. The format is that of `representation.data.frames`, the columns those of
`representation.equivariant.cloud_targets`: places and directions are in the optical frame of the camera. `approach` is
a rule, not the result of grasps: from outside of the handle through its middle to the origin of the object.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import mujoco
import numpy as np
import tyro
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from representation.data.back_projection import depth_to_points
from representation.data.frames import LABEL, POINTS, Frames, expect_empty, write_frames
from representation.equivariant.cloud_targets import APPROACH, NORMALS, POSE
from sim.posed_objects import PARTS, Part, draw_part
from sim.rendering import OffscreenRenderer, intrinsics
from sim.scene import look_at

FREEDOM, FREEDOMS = "freedom", ("upright", "any")
SCALE = 0.12  # of the parts of `sim.posed_objects`: objects of about 15 cm
EYE = 0.5 * np.array([0.0, -np.sin(np.pi / 4), np.sin(np.pi / 4)])  # m
FEWEST_POINTS = 64
_OPTICAL = np.diag([1.0, -1.0, -1.0])  # from MuJoCo's camera axes
_MODEL = """
<mujoco>
  <visual><global offwidth="512" offheight="512"/></visual>
  <worldbody>
    <light name="lamp" pos="0 0 2" dir="0 0 -1"/>
    <camera name="eye" fovy="30"/>
    <body name="object" mocap="true">{parts}</body>
  </worldbody>
</mujoco>
"""


@dataclass(frozen=True)
class CloudOptions:
    """What is drawn.

    Attributes:
        output: directory to write; must not hold files.
        classes: of objects.
        instances: objects of each class, which differ a little.
        views: of each object, half of them upright.
        points: of each cloud.
        size: side of the pictures, pixels.
        seed: of the classes.
        variant: of objects and views; another one draws other objects of the same classes.
    """

    output: Path
    classes: int = 6
    instances: int = 40
    views: int = 12
    points: int = 128
    size: int = 64
    seed: int = 0
    variant: int = 0


class CloudScene:
    """An object before a depth camera.

    Args:
        parts: of it, of the size of those of `sim.posed_objects`.
        size: side of the pictures, pixels.
    """

    def __init__(self, parts: list[Part], size: int) -> None:
        own = [replace(part, place=SCALE * part.place, size=SCALE * part.size) for part in parts]
        self._model = mujoco.MjModel.from_xml_string(_MODEL.format(parts="".join(part.xml() for part in own)))
        self._data, self._renderer = mujoco.MjData(self._model), OffscreenRenderer(self._model, size, size, "fast")
        eye = self._model.camera("eye")
        eye.pos[:], eye.quat[:] = EYE, look_at(EYE, np.zeros(3))
        self._lens = intrinsics(eye.fovy[0], size, size)
        self._handle = own[0].place

    def view(self, rotation: Rotation) -> tuple[NDArray[np.uint8], dict[str, NDArray]]:
        """A picture (H, W, 3), and `points` and `normals` (M, 3), `approach` (3,) and `pose` (7,) in the optical frame.

        Args:
            rotation: of the object.
        """
        self._data.mocap_quat[0] = rotation.as_quat(scalar_first=True)
        mujoco.mj_forward(self._model, self._data)
        picture, depth = self._renderer.render(self._data, "eye")
        geoms = self._renderer.render_geoms(self._data, "eye")
        camera = self._data.camera("eye")
        axes = camera.xmat.reshape(3, 3) @ _OPTICAL  # of the optical frame, in columns
        is_object = (geoms >= 0) & np.isfinite(depth) & (depth > 0)
        points = depth_to_points(depth, self._lens, is_object).astype(np.float64)
        normals = self._normals(points @ axes.T + camera.xpos, geoms[is_object]) @ axes
        turned = rotation.apply(self._handle)
        pose = np.concatenate([-camera.xpos @ axes, (Rotation.from_matrix(axes.T) * rotation).as_quat()])
        approach = -(turned / np.linalg.norm(turned)) @ axes
        return picture, {POINTS: points, NORMALS: normals, APPROACH: approach, POSE: pose}

    def _normals(self, places: NDArray[np.float64], geoms: NDArray[np.int32]) -> NDArray[np.float64]:
        """Unit normals (M, 3) of the parts at places (M, 3), in the frame of the world."""
        found = np.zeros_like(places)
        for geom in np.unique(geoms):
            own, axes = geoms == geom, self._data.geom_xmat[geom].reshape(3, 3)
            local = (places[own] - self._data.geom_xpos[geom]) @ axes
            found[own] = part_normals(self._model.geom_type[geom], self._model.geom_size[geom], local) @ axes.T
        return found

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()


def part_normals(kind: int, size: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit normals (M, 3) of a geom at places (M, 3) on its surface, in its own frame.

    Args:
        kind: of the geom: box, ellipsoid, capsule or cylinder.
        size: as MuJoCo has it.
        places: metres; a little beside the surface is as good.
    """
    if kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        ways = places / size**2
    elif kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        ways = places.copy()
        ways[:, 2] -= places[:, 2].clip(-size[1], size[1])
    elif kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        radius = np.hypot(places[:, 0], places[:, 1])
        is_lid = np.abs(places[:, 2]) / size[1] > radius / size[0]
        ways = np.where(is_lid[:, None], places * (0, 0, 1), places * (1, 1, 0))
    elif kind == mujoco.mjtGeom.mjGEOM_BOX:
        # The face that a place is nearest to, or farthest out of.
        axis = (np.abs(places) - size).argmax(axis=1)
        ways = places * np.eye(3)[axis]
    else:
        raise ValueError(f"kind: expected a box, an ellipsoid, a capsule or a cylinder, found geom type {kind}")
    return ways / np.linalg.norm(ways, axis=1, keepdims=True)


def object_clouds(
    classes: int, instances: int, views: int, points: int, size: int, seed: int, variant: int = 0
) -> Frames:
    """Draw the clouds; arguments as in `CloudOptions`. Views of too few points are drawn again.

    Returns:
        Frames whose `episode` is the object, with the columns `label`, `freedom` (numbered), `points`, `normals`,
        `approach` and `pose`.
    """
    rng = np.random.default_rng(seed)
    kinds = [[draw_part(rng) for _ in range(PARTS)] for _ in range(classes)]
    rng = np.random.default_rng((seed, variant))
    images, columns = [], {POINTS: [], NORMALS: [], APPROACH: [], POSE: []}
    for number in tqdm(range(classes * instances), desc="objects", unit="object"):
        scene = CloudScene([part.varied(rng) for part in kinds[number % classes]], size)
        view = 0
        while view < views:
            turn = Rotation.random(rng=rng) if view % 2 else Rotation.from_euler("z", rng.uniform(-np.pi, np.pi))
            picture, found = scene.view(turn)
            if len(found[POINTS]) < FEWEST_POINTS:
                continue
            rows = rng.permutation(len(found[POINTS]))
            rows = np.resize(rows, points)
            images.append(picture)
            for name, values in found.items():
                columns[name].append((values[rows] if name in (POINTS, NORMALS) else values).astype(np.float32))
            view += 1
        scene.close()
    count = classes * instances * views
    objects = np.arange(count) // views
    numbered = {LABEL: objects % classes, FREEDOM: np.arange(count) % views % 2}
    names = {LABEL: tuple(f"class {number}" for number in range(classes)), FREEDOM: FREEDOMS}
    stacked = {name: np.stack(values) for name, values in columns.items()}
    return Frames(np.stack(images), objects, {**numbered, **stacked}, names)


def main() -> None:
    """Draw and write."""
    options = tyro.cli(CloudOptions, description=__doc__)
    expect_empty(options.output)
    frames = object_clouds(
        options.classes,
        options.instances,
        options.views,
        options.points,
        options.size,
        options.seed,
        options.variant,
    )
    write_frames(frames, options.output)
    print(f"{options.output}: {len(frames)} clouds of {options.classes * options.instances} objects")


if __name__ == "__main__":
    main()
