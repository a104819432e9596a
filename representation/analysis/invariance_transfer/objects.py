"""Cut-outs and backgrounds: drawn at random, read from folders, or cut out of frames whose pixels are labelled."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from representation.analysis.invariance_transfer.transforms import RGBA, bounding_box
from representation.data.frames import SEGMENTATION, Frames

MOST_PIXELS = 4096  # a side, of a picture that is read
_FINE = 4  # drawn so many times as large
_PARTS = 4
_MARGIN = 0.1  # around a cut-out


def procedural_objects(n: int, size: int, seed: int) -> list[RGBA]:
    """Objects (size, size, 4) of a few filled shapes each, in saturated colours, all of them different."""
    return [_object(size, np.random.default_rng((seed, number))) for number in range(n)]


def _object(size: int, rng: np.random.Generator) -> RGBA:
    side, first = size * _FINE, rng.random()
    image = np.zeros((side, side, 4), np.uint8)
    place = np.array([0.5, 0.5])
    for part in range(_PARTS):
        shade = colorsys.hsv_to_rgb((first + 0.31 * part) % 1, rng.uniform(0.75, 1), rng.uniform(0.6, 1))
        colour = (*(round(255 * value) for value in shade), 255)
        half, angle = rng.uniform(0.1, 0.3, 2), rng.uniform(0, 360)
        middle = tuple(np.rint(side * place).astype(int).tolist())
        if rng.random() < 0.4:
            axes = tuple(np.rint(side * half).astype(int).tolist())
            cv2.ellipse(image, middle, axes, angle, 0, 360, colour, -1)
        else:
            corners = int(rng.integers(3, 6))
            turns = np.deg2rad(angle) + 2 * np.pi * (np.arange(corners) + rng.uniform(-0.2, 0.2, corners)) / corners
            points = side * (place + half * np.stack([np.cos(turns), np.sin(turns)], axis=1))
            cv2.fillPoly(image, [np.rint(points).astype(np.int32)], colour)
        place = 0.5 + rng.uniform(-0.28, 0.28, 2)
    image = _fitted(image)
    small = cv2.resize(np.float32(image), (size, size), interpolation=cv2.INTER_AREA)
    alpha = small[..., 3:]
    rgb = np.where(alpha > 0, small[..., :3] * 255 / np.maximum(alpha, 1e-6), 0)
    return np.rint(np.concatenate([rgb, alpha], axis=2)).clip(0, 255).astype(np.uint8)


def _fitted(image: RGBA) -> RGBA:
    """The smallest square around what is not transparent, with it in the middle."""
    left, top, right, bottom = bounding_box(image)
    side = max(right - left, bottom - top)
    found = np.zeros((side, side, 4), np.uint8)
    y, x = (side - (bottom - top)) // 2, (side - (right - left)) // 2
    found[y : y + bottom - top, x : x + right - left] = image[top:bottom, left:right]
    return found


def procedural_backgrounds(n: int, size: int, seed: int) -> list[NDArray[np.uint8]]:
    """Pictures (size, size, 3) of smooth patches of colour."""
    found = []
    for number in range(n):
        rng = np.random.default_rng((seed, number))
        cells = int(rng.integers(2, 5))
        patches = rng.uniform(60, 190, (cells, cells, 3)).astype(np.float32)
        picture = cv2.resize(patches, (size, size), interpolation=cv2.INTER_CUBIC) + rng.normal(0, 8, (size, size, 3))
        found.append(np.rint(picture).clip(0, 255).astype(np.uint8))
    return found


def noise_objects(n: int, size: int, seed: int) -> list[RGBA]:
    """Opaque objects (size, size, 4) of random pixels."""
    found = []
    for number in range(n):
        image = np.random.default_rng((seed, number)).integers(0, 256, (size, size, 4), dtype=np.uint8)
        image[..., 3] = 255
        found.append(image)
    return found


def read_pictures(folder: Path, cut_out: bool) -> tuple[list[NDArray[np.uint8]], tuple[str, ...]]:
    """Pictures of a folder, in the order of their names, and these names without their ending.

    Args:
        folder: with PNG files, or JPEG files for backgrounds.
        cut_out: whether they have transparent pixels, (h, w, 4); else (h, w, 3).

    Raises:
        FileNotFoundError: no such folder, or no pictures in it.
        ValueError: a picture is damaged, very large, or has nothing transparent where it should; names it.
    """
    endings = (".png",) if cut_out else (".png", ".jpg", ".jpeg")
    files = sorted(file for file in folder.glob("*") if file.suffix.lower() in endings)
    if not files:
        raise FileNotFoundError(f"{folder}: expected pictures {', '.join(endings)}, found none")
    found = []
    for file in files:
        image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED if cut_out else cv2.IMREAD_COLOR)
        if image is None or max(image.shape) > MOST_PIXELS or image.dtype != np.uint8:
            raise ValueError(f"{file}: expected a picture of at most {MOST_PIXELS} pixels a side with 8 bits")
        if cut_out and (image.ndim != 3 or image.shape[2] != 4 or not image[..., 3].any()):
            raise ValueError(f"{file}: expected transparent pixels around an object, found {image.shape}")
        found.append(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if cut_out else cv2.COLOR_BGR2RGB))
    return found, tuple(file.stem for file in files)


def write_pictures(folder: Path, images: Sequence[NDArray[np.uint8]], names: Sequence[str]) -> None:
    """Write what `read_pictures` reads, as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    for image, name in zip(images, names, strict=True):
        order = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
        cv2.imwrite(str(folder / f"{name}.png"), cv2.cvtColor(image, order))


def cut_outs_of(
    frames: Frames, kinds: Sequence[str] = (), each: int = 1, least_pixels: int = 60, others: str = "other"
) -> tuple[list[RGBA], list[int], tuple[str, ...], list[NDArray[np.uint8]]]:
    """Cut things out of pictures whose every pixel is labelled, as `sim.segmented_scenes` writes them.

    Args:
        frames: with a column `segmentation` and its names.
        kinds: names of what is cut out; all but `others` if empty.
        each: cut-outs of a kind: the largest pieces, one of a picture.
        least_pixels: that a thing shows.
        others: name of what is behind all things.

    Returns:
        Cut-outs (h, h, 4), their kinds, the names of these, and as many backgrounds, which are pictures with all things
        painted over by what surrounds them.

    Raises:
        ValueError: no segmentation, an unknown kind, or nothing large enough.
    """
    frames.need((SEGMENTATION,))
    names = frames.names.get(SEGMENTATION, ())
    wanted = tuple(kinds) or tuple(name for name in names if name != others)
    unknown = [kind for kind in wanted if kind not in names]
    if unknown or not wanted:
        raise ValueError(f"kinds: expected some of {', '.join(names)}, found {list(kinds)}")
    shown = frames.columns[SEGMENTATION]
    images, labels, found, rows = [], [], [], set()
    for kind in wanted:
        there = np.flatnonzero((shown == names.index(kind)).any(axis=(1, 2)))
        masks = {int(row): _largest_piece(shown[row] == names.index(kind)) for row in there}
        pixels = {row: int(mask.sum()) for row, mask in masks.items() if mask.sum() >= least_pixels}
        best = sorted(pixels, key=lambda row: -pixels[row])[:each]
        for row in best:
            images.append(_cut_out(frames.images[row], masks[row]))
            labels.append(len(found))
            rows.add(row)
        if best:
            found.append(kind)
    if not images:
        raise ValueError(f"frames: expected things of at least {least_pixels} pixels, found none of {list(wanted)}")
    backgrounds = []
    for row in sorted(rows):
        things = (shown[row] != names.index(others)) if others in names else shown[row] > 0
        mask = cv2.dilate(things.astype(np.uint8), np.ones((3, 3), np.uint8))
        backgrounds.append(cv2.inpaint(np.ascontiguousarray(frames.images[row]), mask, 3, cv2.INPAINT_NS))
    return images, labels, tuple(found), backgrounds


def _largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    _, pieces, numbers, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return pieces == 1 + np.argmax(numbers[1:, cv2.CC_STAT_AREA])


def _cut_out(picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> RGBA:
    """The square around a mask, transparent outside it."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    side = int(np.ceil(max(height, width) * (1 + 2 * _MARGIN)))
    found = np.zeros((side, side, 4), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    found[top : top + height, left : left + width, :3] = picture[part]
    found[top : top + height, left : left + width, 3] = 255 * mask[part]
    return found
