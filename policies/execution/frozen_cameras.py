"""`FrozenCameras`: notices a camera whose pictures stay the same although the arm moves.

A driver that hangs may send its last picture again and again with new stamps: by age and stamp it is in order. A
working camera never sends the same bytes twice while it moves, or while the arm moves before it. A camera on the wrist
of an arm that rests may see nothing of another one, so several arms must all have moved where the camera has not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.interface import CameraView, Observation
from policies.robots.spec import RobotSpec

MOVED_RAD = 0.2
CARRIED_M = 0.05


@dataclass(frozen=True, slots=True)
class _Sight:
    """A view, and where the joints were when it changed last."""

    view: CameraView
    positions: NDArray[np.float64]


class FrozenCameras:
    """Compares each camera's picture with the one before.

    Args:
        spec: the robot, whose arm joints count as motion.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self._arms = [list(arm.joints) for arm in spec.arms]
        self._seen: dict[str, _Sight] = {}

    def clear(self) -> None:
        """Forget the pictures so far."""
        self._seen.clear()

    def look(self, observation: Observation) -> str:
        """Which camera is frozen, in words; empty if none is."""
        positions = observation.joint_positions
        for name, view in observation.cameras.items():
            before = self._seen.get(name)
            if before is None or not np.array_equal(before.view.rgb, view.rgb):
                self._seen[name] = _Sight(view, positions)
                continue
            way = view.base_from_camera[:3, 3] - before.view.base_from_camera[:3, 3]
            carried = float(np.linalg.norm(way))
            moved = min(float(np.abs(positions - before.positions)[arm].max()) for arm in self._arms)
            if carried > CARRIED_M or moved > MOVED_RAD:
                motion = f"it went {carried:.2f} m" if carried > CARRIED_M else f"a joint went {moved:.2f} rad"
                return (
                    f"camera '{name}': expected pictures that change while the arm moves, found the same one although "
                    f"{motion}: it is frozen"
                )
        return ""
