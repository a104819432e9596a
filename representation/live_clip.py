"""`LiveClip`: the pictures of an episode that still goes on, of which only so many are kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from representation.data.clips import CLIP_LENGTH
from representation.data.frames import as_pixels


class LiveClip:
    """Keeps pictures at equal distances from the beginning on; whenever there are too many, every second one.

    Args:
        length: T of the clips.
    """

    def __init__(self, length: int = CLIP_LENGTH) -> None:
        self._length = length
        self.restart()

    def restart(self) -> None:
        """Begin with the next picture."""
        self._kept: list[NDArray[np.uint8]] = []
        self._newest: NDArray[np.uint8] | None = None
        self._stride, self._count = 1, 0

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Take a picture (H, W, 3) RGB; the pictures of an episode come at equal times.

        Raises:
            ValueError: a picture of another size than those before.
        """
        if self._newest is not None and picture.shape != self._newest.shape:
            raise ValueError(f"picture: expected {self._newest.shape} as before, found {picture.shape}")
        if self._count % self._stride == 0:
            self._kept.append(picture)
            if len(self._kept) > 2 * self._length:
                self._kept, self._stride = self._kept[::2], 2 * self._stride
        self._newest = picture
        self._count += 1

    def clip(self) -> Tensor:
        """The episode so far (T, 3, H, W) in [0, 1], its newest picture last.

        Raises:
            ValueError: no picture came.
        """
        if self._newest is None:
            raise ValueError("clip: expected a picture, found none")
        pictures = self._kept if self._kept[-1] is self._newest else [*self._kept, self._newest]
        chosen = np.linspace(0, len(pictures) - 1, self._length).round().astype(int)
        return as_pixels(np.stack([pictures[place] for place in chosen]))
