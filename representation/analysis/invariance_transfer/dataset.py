"""`Transforms2D`: objects before backgrounds, changed by chosen transforms, each picture by its number alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from representation.analysis.invariance_transfer.transforms import (
    BASE_SIDE,
    RGBA,
    apply_transforms,
    bounding_box,
    ordered,
    shifted,
)

VALIDATION, TEST, BACKGROUND = 110, 220, 593
"""What is added to the seed of training pictures for others, and to that of objects for backgrounds."""

SHRUNK, IN_CORNER, CORNER = 0.7, 0.55, (21, 2)
_OBJECT, _SCENE, _LINKED, _THERE = 0, 1, 2, 3  # streams of a picture


class Transforms2D(Dataset):
    """Pictures (3, S, S) float in [-1, 1] with a class.

    Two datasets that differ in `transform_seed` only have the same objects before the same backgrounds, with other
    draws of the transforms.

    Args:
        foregrounds: cut-outs (h, w, 4) uint8.
        backgrounds: pictures (h, w, 3) uint8, of which the top left square is taken; black if empty.
        transforms: names, see `TRANSFORMS`.
        n: pictures.
        image_size: side S, pixels.
        sampling_seed: of objects and backgrounds.
        transform_seed: of the transforms; the same if None.
        label: which class a picture has.
        fg_bg_correlation: share of the pictures whose object is that of the background's number.
        fg_availability: share of the pictures that have an object.
        foreground_labels: classes of the cut-outs; each is one if None.
        background_labels: likewise.
        object_scale: size of objects, as a share of the picture.
        corner: whether objects are small and in the upper right, not in the middle.

    Raises:
        ValueError: no objects, other shapes, unknown transforms, shares outside [0, 1], or a class that is not shown.
    """

    def __init__(
        self,
        foregrounds: Sequence[RGBA],
        backgrounds: Sequence[NDArray[np.uint8]],
        transforms: Sequence[str],
        n: int,
        image_size: int = BASE_SIDE,
        sampling_seed: int = 0,
        transform_seed: int | None = None,
        label: Literal["foreground", "background"] = "foreground",
        fg_bg_correlation: float = 0.0,
        fg_availability: float = 1.0,
        *,
        foreground_labels: Sequence[int] | None = None,
        background_labels: Sequence[int] | None = None,
        object_scale: float = SHRUNK,
        corner: bool = False,
    ) -> None:
        self.transforms, self.n, self.image_size = ordered(transforms), n, image_size
        self.sampling_seed = sampling_seed
        self.transform_seed = sampling_seed if transform_seed is None else transform_seed
        self.label, self.correlation, self.availability = label, fg_bg_correlation, fg_availability
        if not len(foregrounds) or any(one.ndim != 3 or one.shape[2] != 4 for one in foregrounds):
            raise ValueError(f"foregrounds: expected (h, w, 4), found {[one.shape for one in foregrounds][:5]}")
        if any(one.ndim != 3 or one.shape[2] != 3 for one in backgrounds):
            raise ValueError(f"backgrounds: expected (h, w, 3), found {[one.shape for one in backgrounds][:5]}")
        if not (0 <= fg_bg_correlation <= 1 and 0 <= fg_availability <= 1):
            raise ValueError(f"shares: expected in [0, 1], found {fg_bg_correlation}, {fg_availability}")
        if n < 1 or image_size < 8 or min(self.sampling_seed, self.transform_seed) < 0:
            raise ValueError(f"n, image_size, seeds: expected at least 1, 8 and 0, found {n}, {image_size}")
        if label not in ("foreground", "background") or (label == "background" and not len(backgrounds)):
            raise ValueError(f"label: expected foreground, or background where there are some, found {label!r}")
        if label == "foreground" and fg_availability < 1:
            raise ValueError(f"fg_availability: expected 1 where objects are the classes, found {fg_availability}")
        self.foreground_labels = _labels("foreground_labels", foreground_labels, len(foregrounds))
        self.background_labels = _labels("background_labels", background_labels, len(backgrounds))
        self.prototypes = [_prototype(one, image_size, object_scale, corner) for one in foregrounds]
        self.backgrounds = [_square(one, image_size) for one in backgrounds]

    def __len__(self) -> int:
        return self.n

    def parts(self, index: int) -> tuple[int | None, int | None]:
        """Numbers of the object and of the background of a picture; None where there is none."""
        scene = self._draw(self.sampling_seed + BACKGROUND, index, _SCENE, len(self.backgrounds))
        item = self._draw(self.sampling_seed, index, _OBJECT, len(self.prototypes))
        if scene is not None and self._share(index, _LINKED) < self.correlation:
            item = int(self.background_labels[scene]) % len(self.prototypes)
        return (item if self._share(index, _THERE) < self.availability else None), scene

    def foreground(self, index: int) -> RGBA:
        """The object of a picture (S, S, 4), transformed; all transparent where there is none."""
        item, _ = self.parts(index)
        if item is None:
            return np.zeros((self.image_size, self.image_size, 4), np.uint8)
        return apply_transforms(self.prototypes[item], self.transforms, self.transform_seed, index)

    def image(self, index: int) -> NDArray[np.uint8]:
        """The picture (S, S, 3)."""
        if not 0 <= index < self.n:
            raise IndexError(f"index: expected 0 to {self.n - 1}, found {index}")
        item, (_, scene) = self.foreground(index), self.parts(index)
        behind = np.zeros((self.image_size, self.image_size, 3), np.uint8)
        behind = behind if scene is None else self.backgrounds[scene]
        alpha = np.float32(item[..., 3:]) / 255
        return np.rint(alpha * item[..., :3] + (1 - alpha) * behind).astype(np.uint8)

    def target(self, index: int) -> int:
        """Its class."""
        item, scene = self.parts(index)
        return int(self.foreground_labels[item] if self.label == "foreground" else self.background_labels[scene])

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = torch.from_numpy(self.image(index)).permute(2, 0, 1).float()
        return image / 127.5 - 1, self.target(index)

    def _draw(self, seed: int, index: int, stream: int, count: int) -> int | None:
        return _hashed(seed, index, stream) % count if count else None

    def _share(self, index: int, stream: int) -> float:
        return _hashed(self.sampling_seed, index, stream) / 2**64


def materialised(dataset: Transforms2D) -> tuple[Tensor, Tensor]:
    """All pictures (N, 3, S, S) and classes (N,)."""
    images, labels = zip(*(dataset[index] for index in range(len(dataset))), strict=True)
    return torch.stack(images), torch.tensor(labels)


def _hashed(seed: int, index: int, stream: int) -> int:
    return int(np.random.SeedSequence((seed, index, stream)).generate_state(1, np.uint64)[0])


def _labels(name: str, labels: Sequence[int] | None, count: int) -> NDArray[np.int64]:
    found = np.arange(count) if labels is None else np.asarray(labels)
    if found.shape != (count,) or (count and (found.dtype.kind not in "iu" or found.min() < 0)):
        raise ValueError(f"{name}: expected {count} whole numbers from 0, found {found.shape} {found.dtype}")
    return found.astype(np.int64)


def _square(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    side = min(image.shape[:2])
    return cv2.resize(np.ascontiguousarray(image[:side, :side]), (size, size), interpolation=cv2.INTER_LINEAR)


def _prototype(image: RGBA, size: int, share: float, corner: bool) -> RGBA:
    """The object on a transparent canvas (size, size, 4)."""
    side = max(1, round(size * share * (IN_CORNER if corner else 1.0)))
    found = np.zeros((size, size, 4), np.uint8)
    small = cv2.resize(cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR), (side, side))
    start = (size - side) // 2
    found[start : start + side, start : start + side] = small
    box = bounding_box(found)
    if not corner or box is None:
        return found
    left, top, right, bottom = box
    wanted = (round(place * size / BASE_SIDE) for place in CORNER)
    x, y = (min(place, size - length) for place, length in zip(wanted, (right - left, bottom - top), strict=True))
    return shifted(found, x - left, y - top)
