"""`JointTrajectory`: what the stack sends to an arm, as `trajectory_msgs/JointTrajectory` carries it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class JointTrajectory:
    """Knots of positions and velocities, joined by cubic Hermite segments, ending at rest.

    Attributes:
        stamp: start time in seconds; knot k is due at `stamp + times[k]`.
        times: (T,) seconds, strictly increasing, > 0.
        positions: (T, n) rad (m), in `RobotSpec.joint_names` order.
        velocities: (T, n) rad/s (m/s); the last row is zero.
    """

    stamp: float
    times: NDArray[np.float64]
    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]

    def __post_init__(self) -> None:
        times, positions, velocities = (
            np.asarray(value, dtype=np.float64) for value in (self.times, self.positions, self.velocities)
        )
        if times.ndim != 1 or len(times) == 0 or positions.ndim != 2:
            raise ValueError(
                f"trajectory: expected (T,) times and (T, n) positions, found {times.shape}, {positions.shape}"
            )
        if positions.shape != velocities.shape or len(positions) != len(times):
            raise ValueError(
                f"trajectory: expected as many knots everywhere, found times {times.shape}, positions {positions.shape}, "
                f"velocities {velocities.shape}"
            )
        if times[0] <= 0 or (np.diff(times) <= 0).any():
            raise ValueError(f"times: expected strictly increasing from above 0, found {times}")
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "velocities", velocities)
