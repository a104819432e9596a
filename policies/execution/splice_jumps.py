"""`SpliceJumps`: how far from the running motion the plans lie that take it over.

The gateway joins both by a smooth curve, so the arm does not jump; where successive plans disagree, it swerves.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from policies.execution.trajectory import JointTrajectory, Motion
from policies.robots.spec import RobotSpec

KEPT = 200


class SpliceJumps:
    """Notes what takes over what, and computes only when it is asked.

    Args:
        spec: the robot.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self._arm_joints = spec.arm_joints
        self._noted: deque[tuple[Motion, JointTrajectory, float]] = deque(maxlen=KEPT)
        self._jumps: deque[float] = deque(maxlen=KEPT)

    def add(self, running: Motion, plan: JointTrajectory, begin: float) -> None:
        """Note that a plan takes over a running motion at `begin`, seconds."""
        self._noted.append((running, plan, begin))

    def newest(self) -> list[float]:
        """Of the newest `KEPT` plans, the distance from the running motion at the first knot to come, rad (m).

        It is that of the arm joint for which it is greatest.
        """
        while self._noted:
            running, plan, begin = self._noted.popleft()
            knot = int(np.searchsorted(plan.stamp + plan.times, begin, side="right"))
            if knot < len(plan.times):
                away = plan.positions[knot] - running.at(plan.stamp + plan.times[knot]).positions
                self._jumps.append(float(np.abs(away[self._arm_joints]).max()))
        return list(self._jumps)
