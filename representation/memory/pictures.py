"""The pictures of rows, read again from where the rows come from, and pictures that are written."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from representation.data.frames import FRAMES_FILE, open_frames
from representation.data.lerobot_dataset import LeRobotDataset
from representation.memory.schema import Row


class Pictures:
    """Reads the pictures of rows; what was read last of each source stays open."""

    def __init__(self) -> None:
        self._plain: dict[str, tuple[NDArray, NDArray]] = {}
        self._datasets: dict[str, LeRobotDataset] = {}
        self._episode: tuple[tuple[str, int, str], NDArray] | None = None

    def of(self, row: Row) -> NDArray[np.uint8]:
        """The picture (H, W, 3) of a frame, or the first one of an episode.

        Raises:
            ValueError: the source is not there any more, or does not hold it.
        """
        try:
            pictures = self._pictures(row)
        except (OSError, ValueError) as error:
            raise ValueError(f"{row.source}: expected the source of a picture: {error}") from error
        if not 0 <= row.frame < len(pictures):
            raise ValueError(
                f"{row.source}: episode {row.episode}: expected frame {row.frame}, found {len(pictures)} frames"
            )
        return pictures[row.frame]

    def _pictures(self, row: Row) -> NDArray[np.uint8]:
        """All of an episode."""
        if not row.camera or (Path(row.source) / FRAMES_FILE).is_file():
            if row.source not in self._plain:
                frames = open_frames(Path(row.source))
                self._plain[row.source] = frames.images, frames.episode
            images, episode = self._plain[row.source]
            return images[np.flatnonzero(episode == row.episode)]
        place = row.source, row.episode, row.camera
        if self._episode is None or self._episode[0] != place:
            dataset = self._datasets.setdefault(row.source, LeRobotDataset(row.source))
            key = f"observation.images.{row.camera}"
            self._episode = place, dataset.episode(row.episode, [key])[key]
        return self._episode[1]


def write_picture(path: Path, image: Tensor) -> None:
    """Write a picture (3, H, W) in [0, 1].

    Raises:
        ValueError: the ending names no kind of picture that OpenCV writes.
        OSError: it cannot be written there.
    """
    if not cv2.haveImageWriter(str(path)):
        raise ValueError(f"{path}: expected a picture's name, such as one that ends with .png")
    pixels = (255 * image).round().to(torch.uint8).permute(1, 2, 0).numpy()
    _, content = cv2.imencode(path.suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    path.write_bytes(content.tobytes())
