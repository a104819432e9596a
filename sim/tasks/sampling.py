"""Drawing the objects of an episode: the named ones first, then distractors, none too close to another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sim.appearance import SHAPES
from sim.layout import ObjectLayout, free_place
from sim.suites import Variation

CLEARANCE = 0.095
_HALF_SIZES = (0.019, 0.023)
# A cube turned further than this is caught by its corners and stays so: the experts keep the gripper's heading.
_MAX_YAW = np.deg2rad(20.0)


LEFT, RIGHT = 0, 1
"""The arms of a two-armed robot."""


def side_of(variation: Variation, arm: int) -> Variation:
    """The variation with its spawn region folded onto the side of one arm, so that this arm reaches all of it."""
    (x_low, y_low), (x_high, y_high) = variation.spawn_low, variation.spawn_high
    far = max(abs(y_low), abs(y_high))
    near = 0.0 if y_low < 0.0 < y_high else min(abs(y_low), abs(y_high))
    low, high = (near, far) if arm == LEFT else (-far, -near)
    return replace(variation, spawn_low=(x_low, low), spawn_high=(x_high, high))


def draw_pair(
    rng: np.random.Generator,
    variation: Variation,
    shapes: tuple[str, ...] = SHAPES,
    avoid_colours: tuple[str, ...] = (),
) -> tuple[str, str]:
    """Draw a (colour, shape) pair that the variation allows."""
    pairs = [(c, s) for c, s in variation.pairs if s in shapes and c not in avoid_colours]
    return pairs[rng.integers(len(pairs))]


def draw_object(
    rng: np.random.Generator,
    variation: Variation,
    pair: tuple[str, str],
    taken: list[tuple[float, float]],
    clearance: float = CLEARANCE,
) -> ObjectLayout:
    """Draw size, place and yaw of an object and add its place to `taken`."""
    xy = free_place(rng, variation.spawn_low, variation.spawn_high, taken, clearance)
    taken.append(xy)
    colour, shape = pair
    return ObjectLayout(shape, colour, float(rng.uniform(*_HALF_SIZES)), xy, float(rng.uniform(-_MAX_YAW, _MAX_YAW)))


def draw_distractors(
    rng: np.random.Generator,
    variation: Variation,
    named: list[tuple[str, str]],
    taken: list[tuple[float, float]],
    most: int,
) -> list[ObjectLayout]:
    """Draw the variation's number of distractors, at most `most`.

    A distractor never has the colour of a named object, except the variation's confounders, which have the colour of
    the first named object and another shape.
    """
    low, high = variation.distractors
    count = min(most, int(rng.integers(low, high + 1)))
    colour, shape = named[0]
    confounders = min(variation.same_colour_confounders, count)
    pairs = [(colour, other) for other in rng.permutation([s for s in SHAPES if s != shape])[:confounders].tolist()]
    taboo = {colour for colour, _ in named}
    others = [pair for pair in variation.distractor_pairs if pair[0] not in taboo]
    while len(pairs) < count:
        pairs.append(others[rng.integers(len(others))])
    return [draw_object(rng, variation, pair, taken) for pair in pairs]
