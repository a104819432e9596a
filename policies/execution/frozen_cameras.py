"""`FrozenCameras`: notices a camera whose pictures stay the same although the arm moves.

A driver that hangs may send its last picture again and again with new stamps: by age and stamp it is in order. A
working camera never sends the same bytes twice while something moves before it, and what moves here is the arm.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policies.interface import Observation
from policies.robots.spec import RobotSpec

MOVED_RAD = 0.2


class FrozenCameras:
    """Compares each camera's picture with the one before.

    Args:
        spec: the robot, whose arm joints count as motion.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self._arm = spec.arm_joints
        self._seen: dict[str, tuple[NDArray[np.uint8], NDArray[np.float64]]] = {}

    def clear(self) -> None:
        """Forget the pictures so far."""
        self._seen.clear()

    def look(self, observation: Observation) -> str:
        """Which camera is frozen, in words; empty if none is."""
        positions = observation.joint_positions[self._arm]
        for name, view in observation.cameras.items():
            picture, since = self._seen.get(name, (None, positions))
            if picture is None or not np.array_equal(picture, view.rgb):
                self._seen[name] = (view.rgb, positions)
                continue
            moved = float(np.abs(positions - since).max())
            if moved > MOVED_RAD:
                return (
                    f"camera '{name}': expected pictures that change while the arm moves, found the same one although "
                    f"a joint went {moved:.2f} rad: it is frozen"
                )
        return ""
