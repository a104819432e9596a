"""The way of a resting arm to a goal, for homing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policies.execution.safety_filter import SafetyFilter
from policies.execution.trajectory import JointState, JointTrajectory

EFFORT = 0.3  # share of the limits
KNOT_S = 0.1  # s between knots
MIN_DURATION_S = 0.5  # s


def way_to(goal: NDArray[np.float64], start: JointState, limits: SafetyFilter) -> JointTrajectory:
    """All joints go from a rest to `goal` (n,), rad (m), by one minimum-jerk law, at `EFFORT` of the limits.

    Source: Flash and Hogan, The coordination of arm movements, J. Neurosci. 5(7), 1985.
    """
    way = goal - start.positions
    # Peaks of 10 s^3 - 15 s^4 + 6 s^5 over [0, 1]: velocity 15 / 8, acceleration 10 / sqrt(3), jerk 60.
    duration = max(
        MIN_DURATION_S,
        float(np.max(15 / 8 * np.abs(way) / (EFFORT * limits.max_velocity))),
        float(np.max(10 / np.sqrt(3) * np.abs(way) / (EFFORT * limits.max_acceleration))) ** 0.5,
        float(np.max(60 * np.abs(way) / (EFFORT * limits.max_jerk))) ** (1 / 3),
    )
    s = np.linspace(0.0, 1.0, max(2, int(np.ceil(duration / KNOT_S)) + 1))[1:, None]
    place, speed = s**3 * (10 + s * (6 * s - 15)), 30 * s**2 * (1 - s) ** 2
    acceleration = 60 * s * (1 - s) * (1 - 2 * s)
    positions = start.positions + place * way
    velocities, accelerations = speed * way / duration, acceleration * way / duration**2
    velocities[-1] = accelerations[-1] = 0.0
    return JointTrajectory(start.time, duration * s[:, 0], positions, velocities, accelerations)
