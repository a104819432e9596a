"""Variation suites: named, graded departures from the conditions that policies are trained in.

In the spirit of SimplerEnv (Li et al., Evaluating Real-World Robot Manipulation Policies in Simulation, CoRL 2024):
each suite changes one thing and leaves the rest nominal, so that a loss of success has one cause. A suite only draws
data, a `Variation`; the scene and the tasks apply it.
"""

from __future__ import annotations

import colorsys
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sim.appearance import COLOURS, SHAPES

Triple = tuple[float, float, float]
Rgba = tuple[float, float, float, float]
Pair = tuple[str, str]

SEVERITIES = (1, 2, 3)

HELD_OUT_PAIRS: tuple[Pair, ...] = (
    ("red", "cylinder"),
    ("orange", "cube"),
    ("yellow", "ball"),
    ("green", "ball"),
    ("blue", "cube"),
    ("purple", "cylinder"),
)
"""(colour, shape) pairs that training never shows, named or as a distractor: each colour once, each shape twice."""

ALL_PAIRS: tuple[Pair, ...] = tuple(itertools.product(COLOURS, SHAPES))
TRAINING_PAIRS: tuple[Pair, ...] = tuple(pair for pair in ALL_PAIRS if pair not in HELD_OUT_PAIRS)


@dataclass(frozen=True, slots=True)
class Variation:
    """The conditions of one episode; the defaults are the nominal ones.

    Lengths are metres in the base frame, colours and intensities lie in [0, 1].

    Attributes:
        light_direction: where the key light shines to (need not be of unit length).
        light_diffuse: its red, green, blue intensity.
        light_ambient: ambient red, green, blue intensity.
        table_rgba: colour of the table top.
        background_rgba: colour of floor and walls.
        camera_position_offset: added to the front camera's position.
        camera_target_offset: added to the point that the front camera looks at.
        distractors: least and greatest number of objects that the instruction does not name.
        same_colour_confounders: how many of the distractors have the named object's colour and another shape.
        spawn_low: lower corner (x, y) of the region in which objects start.
        spawn_high: its upper corner.
        pairs: (colour, shape) pairs that may be named.
        distractor_pairs: (colour, shape) pairs that other distractors may have.
        held_out_paraphrases: whether the instruction is one of the held-out sentences.
    """

    light_direction: Triple = (-0.1, 0.25, -1.0)
    light_diffuse: Triple = (0.55, 0.55, 0.55)
    light_ambient: Triple = (0.35, 0.35, 0.35)
    table_rgba: Rgba = (0.62, 0.58, 0.53, 1.0)
    background_rgba: Rgba = (0.36, 0.39, 0.42, 1.0)
    camera_position_offset: Triple = (0.0, 0.0, 0.0)
    camera_target_offset: Triple = (0.0, 0.0, 0.0)
    distractors: tuple[int, int] = (1, 4)
    same_colour_confounders: int = 0
    spawn_low: tuple[float, float] = (0.38, -0.20)
    spawn_high: tuple[float, float] = (0.62, 0.20)
    pairs: tuple[Pair, ...] = TRAINING_PAIRS
    distractor_pairs: tuple[Pair, ...] = TRAINING_PAIRS
    held_out_paraphrases: bool = False


NOMINAL = Variation()


@dataclass(frozen=True, slots=True)
class Suite:
    """A named departure from the nominal conditions.

    Attributes:
        name: key in `SUITES`.
        description: what it changes, for reports.
        draw: `draw(rng, severity) -> Variation`; call `sample`, which checks the severity.
    """

    name: str
    description: str
    draw: Callable[[np.random.Generator, int], Variation]

    def sample(self, rng: np.random.Generator, severity: int = 1) -> Variation:
        """Draw one episode's conditions.

        Args:
            rng: the episode's random generator.
            severity: 1 (mild) to 3 (strong); suites that have no grades ignore it.

        Raises:
            ValueError: no such severity.
        """
        if severity not in SEVERITIES:
            raise ValueError(f"severity: expected one of {SEVERITIES}, found {severity!r}")
        return self.draw(rng, severity)


def get_suite(name: str) -> Suite:
    """Look a suite up. Raises ValueError, listing what there is, for an unknown name."""
    if name not in SUITES:
        raise ValueError(f"suite: expected one of {', '.join(SUITES)}, found {name!r}")
    return SUITES[name]


def _magnitude(rng: np.random.Generator, largest: float) -> float:
    """At least half of `largest`, so that a severity always departs clearly from nominal; either sign."""
    return float(rng.choice((-1.0, 1.0)) * rng.uniform(0.5 * largest, largest))


def _triple(values: np.ndarray) -> Triple:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _nominal(rng: np.random.Generator, severity: int) -> Variation:
    return NOMINAL


def _lighting(rng: np.random.Generator, severity: int) -> Variation:
    """Tilt the key light, scale its intensity and tint it."""
    tilt = np.deg2rad((15.0, 30.0, 45.0)[severity - 1]) * rng.uniform(0.5, 1.0)
    heading = rng.uniform(-np.pi, np.pi)
    direction = np.array([np.sin(tilt) * np.cos(heading), np.sin(tilt) * np.sin(heading), -np.cos(tilt)])
    intensity = 1.0 + _magnitude(rng, (0.2, 0.4, 0.6)[severity - 1])
    tint = 1.0 + rng.uniform(-1.0, 1.0, 3) * (0.06, 0.12, 0.20)[severity - 1]
    return replace(
        NOMINAL,
        light_direction=_triple(direction),
        light_diffuse=_triple(np.asarray(NOMINAL.light_diffuse) * intensity * tint),
        light_ambient=_triple(np.asarray(NOMINAL.light_ambient) * (0.5 + 0.5 * intensity) * tint),
    )


def _background(rng: np.random.Generator, severity: int) -> Variation:
    """Colour table, floor and walls anew, more saturated and further from the nominal brightness with severity."""
    saturation = (0.15, 0.30, 0.45)[severity - 1]
    spread = (0.12, 0.22, 0.32)[severity - 1]

    def colour(value: float) -> Rgba:
        brightness = np.clip(value + _magnitude(rng, spread), 0.1, 0.95)
        return *colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.5, 1.0) * saturation, float(brightness)), 1.0

    return replace(NOMINAL, table_rgba=colour(0.58), background_rgba=colour(0.42))


def _camera(rng: np.random.Generator, severity: int) -> Variation:
    """Move the front camera and the point that it looks at."""
    position, target = ((0.03, 0.01), (0.06, 0.02), (0.12, 0.04))[severity - 1]
    return replace(
        NOMINAL,
        camera_position_offset=_triple(np.array([_magnitude(rng, position) for _ in range(3)])),
        camera_target_offset=_triple(np.array([_magnitude(rng, target) for _ in range(3)])),
    )


def _distractors(rng: np.random.Generator, severity: int) -> Variation:
    """More objects, of which some share the named object's colour but not its shape."""
    count, confounders = ((3, 1), (4, 2), (5, 2))[severity - 1]
    return replace(NOMINAL, distractors=(count, count), same_colour_confounders=confounders)


def _placement(rng: np.random.Generator, severity: int) -> Variation:
    """Let all objects start in a 6 cm wide band left, right or short of the training region, further out with severity.

    Beyond its far edge there would be no room to push an object away from the robot.
    """
    gap, width = (0.0, 0.02, 0.04)[severity - 1], 0.06
    (x_low, y_low), (x_high, y_high) = NOMINAL.spawn_low, NOMINAL.spawn_high
    bands = (
        ((x_low - gap - width, y_low), (x_low - gap, y_high)),
        ((x_low, y_low - gap - width), (x_high, y_low - gap)),
        ((x_low, y_high + gap), (x_high, y_high + gap + width)),
    )
    low, high = bands[rng.integers(len(bands))]
    return replace(NOMINAL, spawn_low=low, spawn_high=high, distractors=(1, 1))


def _held_out_pairs(rng: np.random.Generator, severity: int) -> Variation:
    return replace(NOMINAL, pairs=HELD_OUT_PAIRS, distractor_pairs=ALL_PAIRS)


def _held_out_paraphrases(rng: np.random.Generator, severity: int) -> Variation:
    return replace(NOMINAL, held_out_paraphrases=True)


SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite("nominal", "the conditions of the demonstrations", _nominal),
        Suite("lighting", "direction, intensity and tint of the light", _lighting),
        Suite("background", "colours of table, floor and walls", _background),
        Suite("camera", "pose of the front camera", _camera),
        Suite("distractors", "more objects, some of the named colour", _distractors),
        Suite("placement", "objects start outside the training region", _placement),
        Suite("held_out_pairs", "colour-shape pairs never seen in training", _held_out_pairs),
        Suite("held_out_paraphrases", "sentences never read in training", _held_out_paraphrases),
    )
}
"""All suites by name; `held_out_pairs`, `held_out_paraphrases` and `nominal` have no grades."""
