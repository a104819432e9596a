"""Everyday motions of an arm, drawn as the paths of its points: `python -m sim.arm_actions --output DIR`.

An analog of motion capture: the tool reaches, pushes, goes in a circle, waves or picks, each time from another place,
at another size and speed, seen from another side. Motions are kinematic: each step solves the robot's Jacobian for the
next place of the tool. The format is that of `representation.data.frames`: `episode` is the motion, `label` what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from policies.execution.kinematics import Kinematics
from policies.robots import get_named_robot
from representation.data.frames import LABEL, Frames, expect_empty, write_frames
from representation.memory.grounded_language.drawings import rasterize_trajectory

Vector = NDArray[np.float64]
STEPS = (24, 48)  # of a motion, fewest and most
DAMPING = 0.02  # of the Jacobian's inverse
START_SPREAD_RAD = 0.15
AZIMUTH_RAD, ELEVATION_RAD = (-0.6, 0.6), (0.15, 0.7)  # where it is seen from


@dataclass(frozen=True)
class ActionOptions:
    """What is drawn.

    Attributes:
        output: directory to write; must not hold files.
        robot: whose arm moves.
        count: motions of each kind.
        size: side of the pictures, pixels.
        seed: of everything that is drawn.
    """

    output: Path
    robot: str = "panda"
    count: int = 200
    size: int = 32
    seed: int = 0


def _reach(s: Vector, rng: np.random.Generator) -> Vector:
    around, up = rng.uniform(-np.pi, np.pi), rng.uniform(0.2, 0.8)
    way = np.array([np.cos(around) * np.cos(up), np.sin(around) * np.cos(up), np.sin(up)])
    return rng.uniform(0.15, 0.3) * _eased(s)[:, None] * way


def _push(s: Vector, rng: np.random.Generator) -> Vector:
    around = rng.uniform(-0.6, 0.6)
    down, far = rng.uniform(0.1, 0.2), rng.uniform(0.15, 0.25)
    low, out = _eased((s / 0.4).clip(0, 1)), _eased(((s - 0.4) / 0.6).clip(0, 1))
    return np.stack([far * out * np.cos(around), far * out * np.sin(around), -down * low], axis=1)


def _circle(s: Vector, rng: np.random.Generator) -> Vector:
    radius, begin, sense = rng.uniform(0.06, 0.14), rng.uniform(-np.pi, np.pi), rng.choice((-1, 1))
    angle = begin + sense * 2 * np.pi * s
    y, z = np.cos(angle) - np.cos(begin), np.sin(angle) - np.sin(begin)
    return radius * np.stack([np.zeros(len(s)), y, z], axis=1)


def _wave(s: Vector, rng: np.random.Generator) -> Vector:
    wide, times = rng.uniform(0.08, 0.16), rng.uniform(2, 3)
    side = wide * np.sin(2 * np.pi * times * s)
    return np.stack([np.zeros(len(s)), side, rng.uniform(0.08, 0.14) * _eased((s / 0.3).clip(0, 1))], axis=1)


def _pick(s: Vector, rng: np.random.Generator) -> Vector:
    down, away, side = rng.uniform(0.15, 0.25), rng.uniform(0.12, 0.2), rng.choice((-1, 1))
    low = _eased((s / 0.35).clip(0, 1)) - _eased(((s - 0.4) / 0.3).clip(0, 1))
    carried = _eased(((s - 0.7) / 0.3).clip(0, 1))
    return np.stack([np.zeros(len(s)), side * away * carried, -down * low], axis=1)


ACTIONS: dict[str, Callable[[Vector, np.random.Generator], Vector]] = {
    "reach": _reach,
    "push": _push,
    "circle": _circle,
    "wave": _wave,
    "pick": _pick,
}
"""Ways (T, 3) of the tool from where it begins, m along the axes of the base, at shares (T,) of the time."""


class ActionArm:
    """An arm whose tool follows ways.

    Args:
        robot: its name.
    """

    def __init__(self, robot: str) -> None:
        self._spec = get_named_robot(robot)
        self._kinematics = Kinematics(self._spec)

    def follow(self, way: Vector, rng: np.random.Generator) -> tuple[Vector, Vector]:
        """Places (T, 3) of the tool in the base frame, m, and joint positions (T, n), rad (m), along a way (T, 3)."""
        arm = list(self._spec.arms[0].joints)
        q = self._spec.home.copy()
        q[arm] += rng.uniform(-START_SPREAD_RAD, START_SPREAD_RAD, len(arm))
        q = q.clip(self._spec.lower, self._spec.upper)
        start = self._kinematics.forward(q)[:3, 3]
        places, positions = [], []
        for offset in way:
            place = self._kinematics.forward(q)[:3, 3]
            jacobian = self._kinematics.jacobian(q)[:3, arm]
            step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + DAMPING**2 * np.eye(3), start + offset - place)
            q[arm] = (q[arm] + step).clip(self._spec.lower[arm], self._spec.upper[arm])
            places.append(self._kinematics.forward(q)[:3, 3])
            positions.append(q.copy())
        return np.array(places), np.array(positions)


def seen(places: Vector, azimuth: float, elevation: float) -> Vector:
    """Places (T, 2), right and down, of places (T, 3) in the base frame seen from far away.

    Args:
        places: m.
        azimuth: of the eye from the front of the robot, rad.
        elevation: of the eye, rad.
    """
    eye = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    return places @ np.stack([right, -np.cross(eye, right)], axis=1)


def arm_actions(robot: str, count: int, size: int, seed: int) -> Frames:
    """Draw motions; arguments as in `ActionOptions`."""
    rng, arm = np.random.default_rng(seed), ActionArm(robot)
    images, names = [], tuple(ACTIONS)
    labels = np.arange(count * len(names)) % len(names)
    for label in tqdm(labels, "motions", unit="motion"):
        share = np.linspace(0, 1, rng.integers(STEPS[0], STEPS[1] + 1))
        places, _ = arm.follow(ACTIONS[names[label]](share, rng), rng)
        picture = rasterize_trajectory(
            seen(places, rng.uniform(*AZIMUTH_RAD), rng.uniform(*ELEVATION_RAD))[:, None], size
        )
        images.append(np.repeat((255 * picture).round().astype(np.uint8)[:, :, None], 3, axis=2))
    texts = [f"the arm does a {names[label]}" for label in labels]
    return Frames(np.stack(images), np.arange(len(labels)), {LABEL: labels}, {LABEL: names}, texts)


def main() -> None:
    """Draw and write."""
    options = tyro.cli(ActionOptions, description=__doc__)
    expect_empty(options.output)
    frames = arm_actions(options.robot, options.count, options.size, options.seed)
    write_frames(frames, options.output)
    print(f"{options.output}: {len(frames)} motions, {options.count} of each of {', '.join(ACTIONS)}")


def _eased(s: Vector) -> Vector:
    return s**2 * (3 - 2 * s)


if __name__ == "__main__":
    main()
