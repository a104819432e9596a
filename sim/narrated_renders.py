"""Clips of one object that moves in narrated steps: `python -m sim.narrated_renders --output DIR --count N`.

What happens is drawn anew for each episode, each step another thing and in any order, and the sentences say nothing of
the order: what happens when can only be seen. The format is that of `representation.data.frames`; frames of an episode
follow each other, their texts are the sentences of their steps, and `label` is what happens.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from tqdm import tqdm

from representation.data.frames import LABEL, STEP, TIME, Frames, expect_empty, write_frames
from sim.renders import COLORS, SHAPES, SIZES, ObjectScene, draw_factors

ACTIONS = {
    "left": (-1.0, 0.0, 0.0),
    "right": (1.0, 0.0, 0.0),
    "away": (0.0, 1.0, 0.0),
    "closer": (0.0, -1.0, 0.0),
    "up": (0.0, 0.0, 1.0),
}
_SAID = {
    "left": ("to the left", "leftwards"),
    "right": ("to the right", "rightwards"),
    "away": ("away from the camera", "to the back"),
    "closer": ("towards the camera", "to the front"),
    "up": ("up and down again", "off the table and back"),
}
TEMPLATES = ("the {color} {shape} moves {way}", "the {color} {shape} is pushed {way}", "the {color} {shape} goes {way}")
PERIOD = 0.1  # s between frames
_STRIDE, _NEAR = 0.05, 0.02  # m: way of a step, and half side of the square that objects start in


@dataclass(frozen=True)
class NarratedOptions:
    """What is drawn.

    Attributes:
        output: directory to write; must not hold frames.
        count: episodes.
        steps: of each episode, at most 5.
        frames: of each step.
        size: side of the pictures, pixels.
        seed: of everything that is drawn.
    """

    output: Path
    count: int = 300
    steps: int = 4
    frames: int = 4
    size: int = 32
    seed: int = 0


def render_steps(count: int, steps: int, frames: int, size: int, seed: int) -> Frames:
    """Draw the episodes; arguments as in `NarratedOptions`.

    Returns:
        Frames with the columns `label` (what happens), `color`, `shape` (numbered), `time` (s), `step` (number in the
        episode) and `position` (x, y of the object, metres). Camera and light stay for an episode.
    """
    if not 1 <= steps <= len(ACTIONS):
        raise ValueError(f"steps: expected 1 to {len(ACTIONS)}, found {steps}")
    rng, scene, names = np.random.default_rng(seed), ObjectScene(size), list(ACTIONS)
    columns: dict[str, list] = {name: [] for name in (LABEL, "color", "shape", TIME, STEP, "position")}
    images, texts, episodes = [], [], []
    for episode in tqdm(range(count), desc="renders", unit="episode"):
        color, shape = int(rng.integers(len(COLORS))), int(rng.integers(len(SHAPES)))
        kind = (color, shape, int(rng.integers(len(SIZES))))
        factors = draw_factors(rng) | {"position": rng.uniform(-_NEAR, _NEAR, 2)}
        for step, action in enumerate(rng.permutation(len(names))[:steps]):
            way = np.array(ACTIONS[names[action]])
            template, said = rng.choice(TEMPLATES), rng.choice(_SAID[names[action]])
            words = {"color": list(COLORS)[color], "shape": list(SHAPES)[shape], "way": said}
            for number in range(frames):
                done = (number + 1) / frames
                place = factors["position"] + _STRIDE * done * way[:2]
                # What goes up comes down again.
                lifted = {"position": place, "height": _STRIDE * way[2] * np.sin(np.pi * done)}
                images.append(scene.picture(kind, factors | lifted)[0])
                texts.append(template.format(**words))
                episodes.append(episode)
                values = (action, color, shape, PERIOD * (step * frames + number), step, place)
                for column, value in zip(columns.values(), values, strict=True):
                    column.append(value)
            factors["position"] = factors["position"] + _STRIDE * way[:2]
    scene.close()
    arrays = {name: np.array(values) for name, values in columns.items()}
    arrays["position"] = arrays["position"].astype(np.float32)
    known = {LABEL: tuple(names), "color": tuple(COLORS), "shape": tuple(SHAPES)}
    return Frames(np.stack(images), np.array(episodes), arrays, known, texts)


def main() -> None:
    """Draw and write."""
    options = tyro.cli(NarratedOptions, description=__doc__)
    expect_empty(options.output)
    found = render_steps(options.count, options.steps, options.frames, options.size, options.seed)
    write_frames(found, options.output)
    print(f"{options.output}: {options.count} episodes, {len(found)} pictures, {options.size} pixels wide")


if __name__ == "__main__":
    main()
