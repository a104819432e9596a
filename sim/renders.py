"""Pictures of one object on a table with everything known: `python -m sim.renders --output DIR --count N`.

Colour, shape, size, place, turn, light and camera of each picture are drawn independently and written down, with a
caption: what is needed to ask what a representation keeps. The format is that of `representation.data.frames`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
import tyro
from tqdm import tqdm

from representation.data.frames import LABEL, Frames, write_frames
from sim.rendering import OffscreenRenderer
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
_REACH = 0.09  # m, half side of the square that objects lie in
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
        count: pictures of each combination of colour, shape and size.
        size: side of the pictures, pixels.
        seed: of everything that is drawn.
    """

    output: Path
    count: int = 40
    size: int = 32
    seed: int = 0


def render(count: int, size: int, seed: int) -> Frames:
    """Draw the pictures, all combinations of colour, shape and size alike; arguments as in `RenderOptions`.

    Returns:
        Frames with the columns `color`, `shape`, `scale` (numbered), `label` (colour and shape together), `position`
        (x, y in metres), `turn` (rad about the vertical), `light` (its direction) and `camera` (its place, metres).
    """
    rng = np.random.default_rng(seed)
    model = mujoco.MjModel.from_xml_string(_MODEL.format(objects="".join(_object(shape) for shape in SHAPES)))
    data, renderer = mujoco.MjData(model), OffscreenRenderer(model, size, size, "fast")
    kinds = list(itertools.product(range(len(COLORS)), range(len(SHAPES)), range(len(SIZES))))
    chosen = np.array([kind for kind in kinds for _ in range(count)])
    rng.shuffle(chosen)
    images, texts = [], []
    drawn: dict[str, list] = {name: [] for name in ("position", "turn", "light", "camera")}
    for color, shape, scale in tqdm(chosen, desc="renders", unit="picture"):
        factors = _draw(rng)
        _arrange(model, list(SHAPES)[shape], list(COLORS.values())[color], list(SIZES.values())[scale], factors)
        mujoco.mj_forward(model, data)
        images.append(renderer.render(data, "eye")[0].copy())
        for name, values in drawn.items():
            values.append(factors[name])
        words = {"color": list(COLORS)[color], "shape": list(SHAPES)[shape], "size": list(SIZES)[scale]}
        texts.append(TEMPLATES[rng.integers(len(TEMPLATES))].format(**words))
    renderer.close()
    names = {"color": tuple(COLORS), "shape": tuple(SHAPES), "scale": tuple(SIZES)}
    names[LABEL] = tuple(f"{color} {shape}" for color in COLORS for shape in SHAPES)
    columns = dict(zip(("color", "shape", "scale"), chosen.T, strict=True))
    columns[LABEL] = columns["color"] * len(SHAPES) + columns["shape"]
    columns |= {name: np.array(values, np.float32) for name, values in drawn.items()}
    return Frames(np.stack(images), np.arange(len(images)), columns, names, texts)


def _object(shape: str) -> str:
    return (
        f'<body name="{shape}" pos="0 0 -1"><geom name="{shape}" type="{SHAPES[shape]}" size="0.03 0.03 0.03"/></body>'
    )


def _draw(rng: np.random.Generator) -> dict[str, np.ndarray]:
    tilt, around = rng.uniform(0.0, 0.7), rng.uniform(-np.pi, np.pi)
    light = np.array([np.sin(tilt) * np.cos(around), np.sin(tilt) * np.sin(around), -np.cos(tilt)])
    return {
        "position": rng.uniform(-_REACH, _REACH, 2),
        "turn": np.array(rng.uniform(-np.pi, np.pi)),
        "light": light,
        "camera": np.array([0.0, -0.26, 0.26]) + rng.uniform(-0.04, 0.04, 3),
    }


def _arrange(
    model: mujoco.MjModel, shape: str, color: Sequence[float], half: float, factors: dict[str, np.ndarray]
) -> None:
    """Put the object and the camera where they belong, and everything else below the table."""
    for other in SHAPES:
        model.body(other).pos[:] = (0.0, 0.0, -1.0)
    geom, body = model.geom(shape), model.body(shape)
    geom.size[:] = half * np.array(_EXTENTS[SHAPES[shape]])
    geom.rgba[:] = (*color, 1.0)
    body.pos[:] = (*factors["position"], half)
    body.quat[:] = (np.cos(factors["turn"] / 2), 0.0, 0.0, np.sin(factors["turn"] / 2))
    model.light("lamp").dir[:] = factors["light"]
    eye = model.camera("eye")
    eye.pos[:] = factors["camera"]
    eye.quat[:] = look_at(factors["camera"], np.zeros(3))


def main() -> None:
    """Draw and write."""
    options = tyro.cli(RenderOptions, description=__doc__)
    if options.output.exists() and any(options.output.iterdir()):
        raise SystemExit(f"--output: expected a new or empty directory, found files in {options.output}")
    frames = render(options.count, options.size, options.seed)
    write_frames(frames, options.output)
    print(f"{options.output}: {len(frames)} pictures, {options.size} pixels wide")


if __name__ == "__main__":
    main()
