"""`Workspace`: where and when a motion takes a tool out of the box that it may be in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policies.execution.kinematics import Kinematics
from policies.execution.trajectory import Motion
from policies.robots.spec import RobotSpec

TOLERANCE = 1e-3  # m
PATH_SAMPLES = 4  # of a segment, for the tool's path, whose extremes have no closed form


class Workspace:
    """The boxes of `ArmSpec.workspace_low` and `workspace_high`, in the base frame.

    Args:
        spec: the robot.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self._spec, self._kinematics = spec, Kinematics(spec)

    def exit(self, motion: Motion, begin: float) -> tuple[float, str]:
        """When and where a tool leaves its workspace from `begin` on; one that starts outside may only come back."""
        times = _spread(motion.knots[motion.knots >= begin], PATH_SAMPLES)
        path = motion.sample_many(times)[0]
        exits = [self._exit_of(arm, times, path, motion) for arm in range(len(self._spec.arms))]
        return min(exits, key=lambda found: found[0])

    def _exit_of(self, arm: int, times: NDArray, path: NDArray, motion: Motion) -> tuple[float, str]:
        tools = np.array([self._kinematics.forward(q, arm)[:3, 3] for q in path])  # (K, 3)
        low, high = self._spec.arms[arm].workspace_low, self._spec.arms[arm].workspace_high
        start = self._kinematics.forward(motion.start.positions, arm)[:3, 3]
        already = np.maximum(low - start, start - high).clip(min=0)
        outside = np.maximum(low - tools, tools - high) > already + TOLERANCE
        if not outside.any():
            return np.inf, ""
        k, axis = np.argwhere(outside)[0]
        return float(times[k]), (
            f"workspace: expected tool {'xyz'[axis]} within [{low[axis]:.3f}, {high[axis]:.3f}] m, "
            f"found {tools[k, axis]:.3f} m after {times[k] - motion.knots[0]:.3f} s ({self._spec.arms[arm].name})"
        )


def _spread(knots: NDArray, count: int) -> NDArray[np.float64]:
    """Times at the knots and, `count` to a segment, between them."""
    fractions = np.arange(count) / count
    return np.append((knots[:-1, None] + fractions * np.diff(knots)[:, None]).ravel(), knots[-1])
