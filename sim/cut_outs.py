"""Objects cut out of their pictures, to audit an encoder with: `python -m sim.cut_outs --output DIR --models A.xml`.

DIR then holds `foregrounds/NAME.png`, transparent around the object, and `backgrounds/NAME.png`, as
`representation.explain --cut-outs DIR` reads them. Objects are those of MJCF files, seen from a random side above; or,
without any, drawn ones of four parts each. What a pixel shows is told by MuJoCo; planes are no objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import mujoco
import numpy as np
import tyro
from numpy.typing import NDArray

from representation.analysis.invariance_transfer.objects import procedural_backgrounds, write_pictures
from representation.data.frames import expect_empty
from sim.posed_objects import PARTS, draw_part
from sim.rendering import OffscreenRenderer
from sim.scene import look_at

FOVY_DEG, MARGIN, FINE, AMBIENT = 40.0, 1.15, 4, 0.45
ELEVATION = np.deg2rad((25.0, 65.0))
_EYE = "cut_out"


@dataclass(frozen=True)
class CutOutOptions:
    """What is cut out.

    Attributes:
        output: directory to write; must not hold files.
        models: MJCF files, one object each.
        count: drawn objects, where no files are given.
        backgrounds: drawn backgrounds.
        size: side of the pictures, pixels.
        seed: of everything that is drawn.
    """

    output: Path
    models: tuple[Path, ...] = ()
    count: int = 20
    backgrounds: int = 40
    size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.count, self.backgrounds) < 1 or self.size < 8:
            raise ValueError(f"count, backgrounds, size: expected at least 1, 1 and 8, found {self}")


def mujoco_objects(model_paths: Sequence[Path], size: int, seed: int) -> list[NDArray[np.uint8]]:
    """Cut-outs (size, size, 4) of MJCF files, one each, in their order.

    Raises:
        ValueError: a file is no model, or nothing of it can be seen; names it.
    """
    found = []
    for number, path in enumerate(model_paths):
        try:
            spec = mujoco.MjSpec.from_file(str(path))
            found.append(_cut_out(spec, size, np.random.default_rng((seed, number))))
        except (ValueError, OSError) as error:
            raise ValueError(f"{path}: expected an MJCF of something to see: {error}") from error
    return found


def drawn_objects(count: int, size: int, seed: int) -> list[NDArray[np.uint8]]:
    """Cut-outs (size, size, 4) of objects of four simple parts in colours of their own, as in `sim.posed_objects`."""
    found = []
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        parts = "".join(draw_part(rng).xml() for _ in range(PARTS))
        spec = mujoco.MjSpec.from_string(f"<mujoco><worldbody><body>{parts}</body></worldbody></mujoco>")
        found.append(_cut_out(spec, size, rng))
    return found


def _cut_out(spec: mujoco.MjSpec, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The object of a model from a random side, transparent around it, as large as the picture allows."""
    model = spec.compile()
    solid = np.flatnonzero(model.geom_type != mujoco.mjtGeom.mjGEOM_PLANE.value)
    if len(solid) == 0:
        raise ValueError("geoms: expected some that are no planes, found none")
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    reach = model.geom_rbound[solid]
    middle = (data.geom_xpos[solid].min(axis=0) + data.geom_xpos[solid].max(axis=0)) / 2
    radius = float((np.linalg.norm(data.geom_xpos[solid] - middle, axis=1) + reach).max())
    around, up = rng.uniform(-np.pi, np.pi), rng.uniform(*ELEVATION)
    way = np.array([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)])
    place = middle + MARGIN * radius / np.sin(np.deg2rad(FOVY_DEG) / 2) * way
    spec.worldbody.add_camera(name=_EYE, pos=place, quat=look_at(place, middle), fovy=FOVY_DEG)
    spec.visual.headlight.ambient = np.full(3, AMBIENT)
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with OffscreenRenderer(model, FINE * size, FINE * size, "fast") as renderer:
        picture = renderer.render(data, _EYE)[0]
        shown = np.isin(renderer.render_geoms(data, _EYE), solid)
    if not shown.any():
        raise ValueError("pixels: expected some that show the object, found none")
    rows, columns = (np.flatnonzero(shown.any(axis=axis)) for axis in (1, 0))
    part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    height, width = shown[part].shape
    side = max(height, width)
    canvas = np.zeros((side, side, 4), np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    inside = canvas[top : top + height, left : left + width]
    inside[..., :3], inside[..., 3] = picture[part] * shown[part][..., None], 255 * shown[part]
    small = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    alpha = small[..., 3:]
    small[..., :3] = np.where(alpha > 0, 255 * small[..., :3] / np.maximum(alpha, 1e-6), 0)
    return np.rint(small).clip(0, 255).astype(np.uint8)


def main(args: Sequence[str] | None = None) -> None:
    """Cut out and write."""
    options = tyro.cli(CutOutOptions, args=args, description=__doc__)
    expect_empty(options.output)
    if options.models:
        objects = mujoco_objects(options.models, options.size, options.seed)
        names = [f"{number:03d}_{path.stem}" for number, path in enumerate(options.models)]
    else:
        objects = drawn_objects(options.count, options.size, options.seed)
        names = [f"object_{number:03d}" for number in range(options.count)]
    backgrounds = procedural_backgrounds(options.backgrounds, options.size, options.seed)
    write_pictures(options.output / "foregrounds", objects, names)
    write_pictures(
        options.output / "backgrounds", backgrounds, [f"background_{number:03d}" for number in range(len(backgrounds))]
    )
    print(f"{options.output}: {len(objects)} objects and {len(backgrounds)} backgrounds, {options.size} pixels wide")


if __name__ == "__main__":
    main()
