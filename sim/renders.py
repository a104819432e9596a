"""Pictures of one object on a table with everything known: `python -m sim.renders --output DIR --count N`.

Colour, shape, size, place, turn, light and camera of each picture are drawn independently and written down, with a
caption: what is needed to ask what a representation keeps. The format is that of `representation.data.frames`. With
`--points` each picture also has the points of its object that the camera sees; `--size 96` or more then shows enough.
With `--vary color position` only these change, of a large red cube in the middle of the table.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import mujoco
import numpy as np
import tyro
from tqdm import tqdm

from representation.data.back_projection import depth_to_points, random_points
from representation.data.frames import LABEL, POINTS, Frames, expect_empty, write_frames
from sim.rendering import OffscreenRenderer, intrinsics
from sim.scene import look_at

COLORS = {
    "red": (0.85, 0.12, 0.10),
    "green": (0.15, 0.65, 0.20),
    "blue": (0.12, 0.25, 0.85),
    "yellow": (0.90, 0.80, 0.10),
    "purple": (0.55, 0.15, 0.65),
    "white": (0.92, 0.92, 0.92),
}
SHAPES = {"cube": "box", "ball": "sphere", "cylinder": "cylinder", "capsule": "capsule", "egg": "ellipsoid"}
SIZES = {"small": 0.022, "large": 0.036}  # m, half
TEMPLATES = (
    "a {size} {color} {shape}",
    "a picture of a {size} {color} {shape}",
    "the {shape} is {size} and {color}",
    "there is a {color} {shape}, a {size} one, on the table",
)
_EXTENTS = {
    "box": (1.0, 1.0, 1.0),
    "sphere": (1.0, 0.0, 0.0),
    "cylinder": (0.8, 1.0, 0.0),
    "capsule": (0.6, 0.8, 0.0),
    "ellipsoid": (1.3, 0.8, 0.9),
}
Factor = Literal["color", "shape", "scale", "position", "turn", "light", "camera"]
FACTORS: tuple[Factor, ...] = get_args(Factor)
_KINDS: Mapping[str, Mapping] = {"color": COLORS, "shape": SHAPES, "scale": SIZES}
_FIXED_KIND = {"color": "red", "shape": "cube", "scale": "large"}
_FIXED = {
    "position": np.zeros(2),
    "turn": np.array(0.0),
    "light": np.array([0.0, 0.0, -1.0]),
    "camera": np.array([0.0, -0.26, 0.26]),
}
_REACH = 0.09  # m, half side of the square that objects lie in
_ABOVE_TABLE = 0.003  # m
_MODEL = """
<mujoco>
  <visual><global offwidth="512" offheight="512"/></visual>
  <worldbody>
    <light name="lamp" pos="0 0 1" dir="0 0 -1" diffuse="0.7 0.7 0.7"/>
    <geom name="table" type="plane" size="1 1 0.1" rgba="0.55 0.5 0.45 1"/>
    <camera name="eye" pos="0 -0.3 0.3" fovy="36"/>
    {objects}
  </worldbody>
</mujoco>
"""


@dataclass(frozen=True)
class RenderOptions:
    """What is drawn.

    Attributes:
        output: directory to write; must not hold frames.
        count: pictures of each combination of colour, shape and size, of those that vary.
        size: side of the pictures, pixels.
        points: of the cloud of each object; 0 for none.
        vary: what changes from picture to picture.
        seed: of everything that is drawn.
    """

    output: Path
    count: int = 40
    size: int = 32
    points: int = 0
    vary: tuple[Factor, ...] = FACTORS
    seed: int = 0


class ObjectScene:
    """One object on a table under a lamp, before a camera.

    Args:
        size: side of the pictures, pixels.
    """

    def __init__(self, size: int) -> None:
        self._model = mujoco.MjModel.from_xml_string(_MODEL.format(objects="".join(_object(shape) for shape in SHAPES)))
        self._data, self._renderer = mujoco.MjData(self._model), OffscreenRenderer(self._model, size, size, "fast")
        self._lens = intrinsics(self._model.camera("eye").fovy[0], size, size)

    def picture(self, kind: Sequence[int], factors: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Colour (H, W, 3) and depth (H, W) of an object.

        Args:
            kind: numbers of its colour, shape and size.
            factors: from `draw_factors`; `height`, if there, lifts the object by so many metres.
        """
        return self.picture_of_several([(kind, factors)])

    def picture_of_several(
        self, objects: Sequence[tuple[Sequence[int], Mapping[str, np.ndarray]]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Colour (H, W, 3) and depth (H, W) of objects of different shapes.

        Args:
            objects: kinds and factors as in `picture`; those of the first tell the camera and the light.
        """
        for name in SHAPES:
            self._model.body(name).pos[:] = (0.0, 0.0, -1.0)
        for (color, shape, scale), factors in objects:
            values = list(COLORS.values())[color], list(SIZES.values())[scale]
            _arrange(self._model, list(SHAPES)[shape], *values, factors)
        factors = objects[0][1]
        self._model.light("lamp").dir[:] = factors["light"]
        eye = self._model.camera("eye")
        eye.pos[:], eye.quat[:] = factors["camera"], look_at(factors["camera"], np.zeros(3))
        mujoco.mj_forward(self._model, self._data)
        return self._renderer.render(self._data, "eye")

    def shown(self) -> np.ndarray:
        """What each pixel (H, W) of the last picture shows: the number of a shape, from 1; 0 is the table."""
        numbers = np.zeros(self._model.ngeom + 1, np.uint8)  # the last one is of no geom
        for number, shape in enumerate(SHAPES, 1):
            numbers[self._model.geom(shape).id] = number
        return numbers[self._renderer.render_geoms(self._data, "eye")]

    def object_points(self, depth: np.ndarray) -> np.ndarray:
        """Points (M, 3), metres in the camera's optical frame, of what stands on the table in the last picture."""
        points = depth_to_points(depth, self._lens)
        eye = self._data.camera("eye")
        height = (points * (1.0, -1.0, -1.0)) @ eye.xmat.reshape(3, 3)[2] + eye.xpos[2]
        return points[height > _ABOVE_TABLE]

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()


def render(count: int, size: int, seed: int, points: int = 0, vary: Sequence[str] = FACTORS) -> Frames:
    """Draw the pictures, all combinations of colour, shape and size alike; arguments as in `RenderOptions`.

    Returns:
        Frames with the columns `color`, `shape`, `scale` (numbered), `label` (colour and shape together), `position`
        (x, y in metres), `turn` (rad about the vertical), `light` (its direction) and `camera` (its place, metres);
        with points, `points` as `representation.data.clouds` has them.

    Raises:
        ValueError: nothing varies, or something that is none of `FACTORS`.
    """
    if not vary or not set(vary) <= set(FACTORS):
        raise ValueError(f"vary: expected some of {', '.join(FACTORS)}, found {', '.join(vary) or 'none'}")
    rng, points_rng = np.random.default_rng(seed), np.random.default_rng((seed, 1))
    scene = ObjectScene(size)
    kinds = list(itertools.product(*(_numbers(name, name in vary) for name in _KINDS)))
    chosen = np.array([kind for kind in kinds for _ in range(count)])
    rng.shuffle(chosen)
    images, texts, clouds = [], [], []
    drawn: dict[str, list] = {name: [] for name in ("position", "turn", "light", "camera")}
    for color, shape, scale in tqdm(chosen, desc="renders", unit="picture"):
        factors = draw_factors(rng) | {name: value for name, value in _FIXED.items() if name not in vary}
        image, depth = scene.picture((color, shape, scale), factors)
        images.append(image)
        if points:
            clouds.append(random_points(scene.object_points(depth), points, points_rng))
        for name, values in drawn.items():
            values.append(factors[name])
        words = {"color": list(COLORS)[color], "shape": list(SHAPES)[shape], "size": list(SIZES)[scale]}
        texts.append(TEMPLATES[rng.integers(len(TEMPLATES))].format(**words))
    scene.close()
    names = {name: tuple(values) for name, values in _KINDS.items()}
    names[LABEL] = tuple(f"{color} {shape}" for color in COLORS for shape in SHAPES)
    columns = dict(zip(_KINDS, chosen.T, strict=True))
    columns[LABEL] = columns["color"] * len(SHAPES) + columns["shape"]
    columns |= {name: np.array(values, np.float32) for name, values in drawn.items()}
    if points:
        columns[POINTS] = np.stack(clouds)
    return Frames(np.stack(images), np.arange(len(images)), columns, names, texts)


def _numbers(name: str, varies: bool) -> list[int]:
    """Numbers of the values that a colour, shape or size takes."""
    values = list(_KINDS[name])
    return list(range(len(values))) if varies else [values.index(_FIXED_KIND[name])]


def _object(shape: str) -> str:
    return (
        f'<body name="{shape}" pos="0 0 -1"><geom name="{shape}" type="{SHAPES[shape]}" size="0.03 0.03 0.03"/></body>'
    )


def draw_factors(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Place, turn, light and camera of a picture, see `render`."""
    tilt, around = rng.uniform(0.0, 0.7), rng.uniform(-np.pi, np.pi)
    light = np.array([np.sin(tilt) * np.cos(around), np.sin(tilt) * np.sin(around), -np.cos(tilt)])
    return {
        "position": rng.uniform(-_REACH, _REACH, 2),
        "turn": np.array(rng.uniform(-np.pi, np.pi)),
        "light": light,
        "camera": _FIXED["camera"] + rng.uniform(-0.04, 0.04, 3),
    }


def _arrange(
    model: mujoco.MjModel, shape: str, color: Sequence[float], half: float, factors: Mapping[str, np.ndarray]
) -> None:
    """Put an object where it belongs."""
    geom, body = model.geom(shape), model.body(shape)
    geom.size[:] = half * np.array(_EXTENTS[SHAPES[shape]])
    geom.rgba[:] = (*color, 1.0)
    body.pos[:] = (*factors["position"], half + factors.get("height", 0.0))
    body.quat[:] = (np.cos(factors["turn"] / 2), 0.0, 0.0, np.sin(factors["turn"] / 2))


def main(args: Sequence[str] | None = None) -> None:
    """Draw and write."""
    options = tyro.cli(RenderOptions, args=args, description=__doc__)
    expect_empty(options.output)
    frames = render(options.count, options.size, options.seed, options.points, options.vary)
    write_frames(frames, options.output)
    print(f"{options.output}: {len(frames)} pictures, {options.size} pixels wide")


if __name__ == "__main__":
    main()
