"""What a frozen image tower makes of the pictures of demonstrations, once, where training shows them as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from policies.rdt.demonstrations import Pictures
from policies.rdt.image_tower import ImageTower
from policies.rdt.images import CAMERA_ROLES, scaled_pixels

BATCH = 64


def create(file: Path, steps: int, background: Tensor) -> None:
    """Make the file that `encode` fills.

    Args:
        file: to write.
        steps: N of the demonstrations.
        background: features (tokens, width) of the picture that stands for a missing one.
    """
    np.lib.format.open_memmap(file, "w+", np.float32, (steps, len(CAMERA_ROLES), *background.shape)).flush()
    np.lib.format.open_memmap(_presence(file), "w+", np.bool_, (steps, len(CAMERA_ROLES))).flush()


@torch.no_grad()
def encode(
    tower: ImageTower, pictures: Pictures, file: Path, part: int, parts: int, progress: str | None = None
) -> None:
    """Write the features of one part of the steps, so that several processes share the work.

    Args:
        tower: frozen.
        pictures: of the steps.
        file: that `create` made.
        part: number of the part.
        parts: how many there are.
        progress: name of the demonstrations, for a progress bar; none is shown if None.
    """
    features, present = np.load(file, mmap_mode="r+"), np.load(_presence(file), mmap_mode="r+")
    own = np.array_split(np.arange(len(features)), parts)[part]
    with tqdm(total=len(own), desc=f"encoding pictures of {progress}", unit="step", disable=progress is None) as bar:
        for begin in range(0, len(own), BATCH):
            steps = own[begin : begin + BATCH]
            found, present[steps] = pictures(steps)
            pixels = scaled_pixels(torch.from_numpy(found))
            features[steps] = tower(pixels.flatten(0, 1)).float().unflatten(0, pixels.shape[:2]).numpy()
            bar.update(len(steps))
    features.flush()
    present.flush()


def encoded(file: Path) -> Pictures:
    """Features (B, 3, tokens, width) float32 in place of pictures; the files may be deleted afterwards."""
    features, present = np.load(file, mmap_mode="r"), np.load(_presence(file), mmap_mode="r")

    def read(steps: NDArray[np.int64]) -> tuple[NDArray, NDArray[np.bool_]]:
        return features[steps], np.array(present[steps])

    return read


def _presence(file: Path) -> Path:
    return file.with_suffix(".present.npy")
