"""Five charged particles in space that attract and repel each other: where will they be?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PARTICLES, STEP_S, LARGEST_FORCE = 5, 1e-3, 100.0
SEEN_STEP, ASKED_STEP = 3100, 4100


def simulate_charged(count: int, seed: int) -> dict[str, NDArray[np.float32]]:
    """Motions from random places, at speed 0.5 in random directions, with charges 1 and -1.

    Args:
        count: number B of motions.
        seed: of all that is random.

    Returns:
        `pos` and `vel` (B, 5, 3) at one instant, `charge` (B, 5, 1), and `target` (B, 5, 3), the places 1 s later.
    """
    rng = np.random.default_rng(seed)
    charge = rng.choice([-1.0, 1.0], (count, PARTICLES, 1))
    pos, vel = rng.normal(size=(2, count, PARTICLES, 3))
    vel *= 0.5 / np.linalg.norm(vel, axis=2, keepdims=True)
    vel += STEP_S * _forces(pos, charge)
    found = {"charge": charge}
    for step in range(1, ASKED_STEP + 1):
        pos = pos + STEP_S * vel
        if step == SEEN_STEP:
            found |= {"pos": pos, "vel": vel.copy()}
        vel += STEP_S * _forces(pos, charge)
    found["target"] = pos
    return {name: values.astype(np.float32) for name, values in found.items()}


def _forces(pos: NDArray[np.float64], charge: NDArray[np.float64]) -> NDArray[np.float64]:
    way = pos[:, :, None] - pos[:, None, :]
    squared = (way * way).sum(axis=3, keepdims=True) + np.eye(PARTICLES)[None, :, :, None]
    strength = charge[:, :, None] * charge[:, None, :] / (squared * np.sqrt(squared))
    return (strength * way).sum(axis=2).clip(-LARGEST_FORCE, LARGEST_FORCE)
