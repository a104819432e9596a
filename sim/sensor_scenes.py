"""Three objects on a table as several sensors see them: `python -m sim.sensor_scenes --output DIR`.

Each picture comes with its depth and with the shape that each pixel shows, both as seen by the same camera. Colours,
sizes, places, turns, light and camera are drawn independently; the shapes of a scene differ. The format is that of
`representation.data.frames`; each scene is an episode.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from tqdm import tqdm

from representation.data.depth import encode_depth
from representation.data.frames import DEPTH, LABEL, SEGMENTATION, Frames, expect_empty, write_frames
from sim.renders import COLORS, SHAPES, SIZES, ObjectScene, draw_factors

OBJECTS = 3
APART = 0.085  # m, least distance of two objects' middles
COMBINATIONS = tuple(itertools.combinations(range(len(SHAPES)), OBJECTS))


@dataclass(frozen=True)
class SensorSceneOptions:
    """What is drawn.

    Attributes:
        output: directory to write; must not hold files.
        count: scenes.
        size: side of the pictures, pixels.
        seed: of everything that is drawn.
    """

    output: Path
    count: int = 4000
    size: int = 48
    seed: int = 0


def sensor_scenes(count: int, size: int, seed: int) -> Frames:
    """Draw the scenes; arguments as in `SensorSceneOptions`.

    Returns:
        Frames with the columns `depth` (N, H, W) and `segmentation` (N, H, W), `label` (which three shapes there are)
        and `position` (N, 6), x and y in metres of the objects in the order of their shapes.
    """
    rng, scene = np.random.default_rng(seed), ObjectScene(size)
    labels = rng.integers(len(COMBINATIONS), size=count)
    images, depths, shown, positions = [], [], [], []
    for label in tqdm(labels, desc="scenes", unit="scene"):
        drawn = [draw_factors(rng) for _ in range(OBJECTS)]
        while min(_distances(drawn)) < APART:
            drawn = [draw_factors(rng) for _ in range(OBJECTS)]
        kinds = [(rng.integers(len(COLORS)), shape, rng.integers(len(SIZES))) for shape in COMBINATIONS[label]]
        image, depth = scene.picture_of_several(list(zip(kinds, drawn, strict=True)))
        images.append(image)
        depths.append(encode_depth(depth))
        shown.append(scene.shown())
        positions.append(np.concatenate([factors["position"] for factors in drawn]))
    scene.close()
    names = {SEGMENTATION: ("table", *SHAPES)}
    names[LABEL] = tuple(", ".join(list(SHAPES)[shape] for shape in shapes) for shapes in COMBINATIONS)
    columns = {DEPTH: np.stack(depths), SEGMENTATION: np.stack(shown), LABEL: labels}
    return Frames(np.stack(images), np.arange(count), columns | {"position": np.array(positions, np.float32)}, names)


def _distances(drawn: Sequence[dict[str, np.ndarray]]) -> list[float]:
    """Of all pairs of objects, metres."""
    pairs = itertools.combinations((factors["position"] for factors in drawn), 2)
    return [float(np.linalg.norm(a - b)) for a, b in pairs]


def main(args: Sequence[str] | None = None) -> None:
    """Draw and write."""
    options = tyro.cli(SensorSceneOptions, args=args, description=__doc__)
    expect_empty(options.output)
    frames = sensor_scenes(options.count, options.size, options.seed)
    write_frames(frames, options.output)
    print(f"{options.output}: {len(frames)} scenes, {options.size} pixels wide")


if __name__ == "__main__":
    main()
