"""`ImageHistory`: the pictures of now and of one control step ago, by their stamps."""

from __future__ import annotations

import math
from collections import deque

from policies.rdt.images import CAMERA_ROLES, CameraRole, Picture, ordered_pictures

CAPACITY = 16
"""Most pictures kept of a camera: two steps of one that is eight times as fast as the control rate."""


class ImageHistory:
    """Keeps the newest pictures of each camera.

    A picture belongs to a time if its stamp is less than half a control step away, so that neither a camera's stale
    picture nor one picture twice can pass for the history that the network was trained on.

    Args:
        control_hz: rate of the control steps.
    """

    def __init__(self, control_hz: float) -> None:
        if not 0 < control_hz < math.inf:
            raise ValueError(f"control_hz: expected a finite number > 0, found {control_hz}")
        self._step = 1.0 / control_hz
        self._frames: dict[CameraRole, deque[tuple[float, Picture]]] = {
            role: deque(maxlen=CAPACITY) for role in CAMERA_ROLES
        }

    def reset(self) -> None:
        """Forget everything: another episode begins."""
        for frames in self._frames.values():
            frames.clear()

    def add(self, role: CameraRole, stamp: float, picture: Picture) -> None:
        """Take a picture; a second one of the same stamp replaces the first.

        A stamp before the newest one of its camera means that time started anew, as when a simulator was reset: all
        pictures from after it are forgotten, of every camera.

        Args:
            role: of the camera.
            stamp: capture time, seconds.
            picture: (H, W, 3) uint8; kept, not copied.

        Raises:
            ValueError: an unknown role, or a stamp that is not finite.
        """
        if role not in self._frames:
            raise ValueError(f"camera role: expected one of {list(CAMERA_ROLES)}, found {role!r}")
        if not math.isfinite(stamp):
            raise ValueError(f"{role}: stamp: expected finite seconds, found {stamp}")
        own = self._frames[role]
        if own and stamp < own[-1][0]:
            for frames in self._frames.values():
                while frames and frames[-1][0] > stamp:
                    frames.pop()
        if own and stamp == own[-1][0]:
            own.pop()
        own.append((stamp, picture))
        while own[0][0] < stamp - 2 * self._step:
            own.popleft()

    def pictures(self, stamp: float) -> list[Picture | None]:
        """The six pictures of an observation in token order (see `ordered_pictures`), None where missing.

        Args:
            stamp: of the observation, seconds.
        """
        times = (stamp - self._step, stamp)
        return ordered_pictures({role: [self._nearest(role, time) for time in times] for role in CAMERA_ROLES})

    def _nearest(self, role: CameraRole, time: float) -> Picture | None:
        frames = self._frames[role]
        if not frames:
            return None
        stamp, picture = min(frames, key=lambda frame: abs(frame[0] - time))
        return picture if abs(stamp - time) < self._step / 2 else None
