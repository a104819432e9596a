"""`EarlierPictures`: the newest pictures of each camera, for policies that also look at those of one step before."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


class EarlierPictures:
    """Keeps pictures, also after observations were made of them.

    A picture belongs to a time if its stamp is less than half a step away, so that neither a camera's stale picture nor
    that of now can pass for the one of a step before.

    Args:
        cameras: their names.
        step_s: how far it is looked back, seconds.
        length: most pictures kept of each camera.
    """

    def __init__(self, cameras: Sequence[str], step_s: float, length: int) -> None:
        self._step_s = step_s
        self._pictures: dict[str, deque[tuple[float, Picture]]] = {name: deque(maxlen=length) for name in cameras}

    def add(self, camera: str, stamp: float, rgb: Picture) -> None:
        """Take a picture (H, W, 3), which is kept, not copied; a second one of the same stamp replaces the first."""
        own = self._pictures[camera]
        if own and own[-1][0] == stamp:
            own.pop()
        own.append((stamp, rgb))

    def before(self, camera: str, stamp: float, taken: float) -> tuple[float, Picture] | None:
        """Stamp and picture of one step before an observation; None where there is none.

        Args:
            camera: name of the camera.
            stamp: of the observation.
            taken: stamp of the camera's own picture in it; an earlier one is wanted.
        """
        wanted = stamp - self._step_s
        earlier = [picture for picture in self._pictures[camera] if picture[0] < taken]
        found = min(earlier, key=lambda picture: abs(picture[0] - wanted), default=None)
        return found if found is not None and abs(found[0] - wanted) < self._step_s / 2 else None

    def clear(self) -> None:
        """Forget everything: another episode begins."""
        for pictures in self._pictures.values():
            pictures.clear()
