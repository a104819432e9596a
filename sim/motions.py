"""How scripted experts move a tool: steps that depend on where it is, and nothing else."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

OPEN, CLOSED = 1.0, 0.0

Vector = NDArray[np.float64]


def funnel(tool: Vector, goal: Vector, hover: float, radius: float = 0.008, slope: float = 2.5) -> Vector:
    """Step towards `goal` inside a funnel that opens upwards from it, so that the tool comes down on it from above."""
    offset = goal - tool
    distance = float(np.linalg.norm(offset[:2]))
    floor = goal[2] + float(np.clip((distance - radius) * slope, 0.0, hover))
    rise = floor - tool[2]
    if rise > 0.02:
        return np.array((0.0, 0.0, rise))
    return np.array((offset[0], offset[1], rise))


def turn_between(rotation: NDArray[np.float64], goal: NDArray[np.float64]) -> Vector:
    """(3,) rad, rotation vector along the axes of the base frame that brings a (3, 3) rotation to another."""
    quaternion, vector = np.empty(4), np.empty(3)
    mujoco.mju_mat2Quat(quaternion, (goal @ rotation.T).ravel())
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector
