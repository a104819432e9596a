"""The 18 transforms of a cut-out: a picture (S, S, 4) uint8 whose transparent pixels are no part of the object."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

RGBA = NDArray[np.uint8]
Transform = Callable[[RGBA, np.random.Generator], RGBA]

BASE_SIDE = 32  # pixels of the pictures that sizes in pixels are told for
SMALLEST_SCALE, LARGEST_SHEAR_DEG = 0.4, 50.0
HUE, BRIGHTNESS, CONTRAST, SHARPNESS = 0.5, 1.0, 1.0, 7.0
BLUR_KERNEL, BLUR_SIGMAS = 7, (0.1, 1.5)
PIXELATED, ERASED = 0.3, 14
ELASTIC, ELASTIC_SIGMA = 150.0, 5.0
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


def bounding_box(image: RGBA) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom, the last two excluded, of what is not transparent; None if everything is."""
    rows, columns = (np.flatnonzero(image[..., 3].any(axis=axis)) for axis in (1, 0))
    return None if len(rows) == 0 else (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def shifted(image: RGBA, right: int, down: int) -> RGBA:
    """The picture moved by whole pixels; what leaves it is lost."""
    found, side = np.zeros_like(image), image.shape[0]
    y, x = (slice(max(0, step), min(side, side + step)) for step in (down, right))
    from_y, from_x = (slice(max(0, -step), min(side, side - step)) for step in (down, right))
    found[y, x] = image[from_y, from_x]
    return found


def warped(image: RGBA, matrix: NDArray[np.float64]) -> RGBA:
    """The picture under a linear map (2, 2) about its middle, right and down."""
    middle = (image.shape[0] - 1) / 2
    shift = middle - matrix @ np.array([middle, middle])
    return _opaque_part(cv2.warpAffine(_premultiplied(image), np.column_stack([matrix, shift]), image.shape[:2]))


def scale(image: RGBA, rng: np.random.Generator) -> RGBA:
    """Smaller, down to 0.4."""
    return warped(image, rng.uniform(SMALLEST_SCALE, 1.0) * np.eye(2))


def h_flip(image: RGBA, rng: np.random.Generator) -> RGBA:
    """Left to right, half of the time."""
    return image[:, ::-1].copy() if rng.random() < 0.5 else image


def v_flip(image: RGBA, rng: np.random.Generator) -> RGBA:
    """Upside down, half of the time."""
    return image[::-1].copy() if rng.random() < 0.5 else image


def rotate(image: RGBA, rng: np.random.Generator) -> RGBA:
    """By any angle."""
    angle = rng.uniform(0, 2 * np.pi)
    return warped(image, np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]))


def shear(image: RGBA, rng: np.random.Generator) -> RGBA:
    """Along both axes, each by up to 50 degrees; may cut corners."""
    along_x, along_y = np.tan(np.deg2rad(rng.uniform(-LARGEST_SHEAR_DEG, LARGEST_SHEAR_DEG, 2)))
    return warped(image, np.array([[1.0, 0.0], [along_y, 1.0]]) @ np.array([[1.0, along_x], [0.0, 1.0]]))


def translate(image: RGBA, rng: np.random.Generator) -> RGBA:
    """To any place at which the object lies inside."""
    box, side = bounding_box(image), image.shape[0]
    if box is None:
        return image
    left, top, right, bottom = box
    return shifted(image, int(rng.integers(-left, side - right + 1)), int(rng.integers(-top, side - bottom + 1)))


def hue(image: RGBA, rng: np.random.Generator) -> RGBA:
    """By up to half of the circle of hues, which is any."""
    hsv = cv2.cvtColor(np.float32(image[..., :3]) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 360 * rng.uniform(-HUE, HUE)) % 360
    return _with_rgb(image, 255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


def brightness(image: RGBA, rng: np.random.Generator) -> RGBA:
    """Times 0 to 2."""
    return _with_rgb(image, np.float32(image[..., :3]) * rng.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS))


def grayscale(image: RGBA, rng: np.random.Generator) -> RGBA:
    """Without colour, half of the time."""
    if rng.random() >= 0.5:
        return image
    return _with_rgb(image, np.repeat((np.float32(image[..., :3]) @ _LUMA)[..., None], 3, axis=2))


def posterize(image: RGBA, rng: np.random.Generator) -> RGBA:
    """One bit for each channel, 0 or 128, half of the time."""
    return _with_rgb(image, image[..., :3] & 0x80) if rng.random() < 0.5 else image


def invert(image: RGBA, rng: np.random.Generator) -> RGBA:
    """The negative, half of the time."""
    return _with_rgb(image, 255 - image[..., :3]) if rng.random() < 0.5 else image


def sharpen(image: RGBA, rng: np.random.Generator) -> RGBA:
    """Seven times as sharp, half of the time."""
    if rng.random() >= 0.5:
        return image
    rgb = np.float32(image[..., :3])
    smooth = cv2.filter2D(rgb, -1, _SMOOTH, borderType=cv2.BORDER_REPLICATE)
    return _with_rgb(image, smooth + SHARPNESS * (rgb - smooth))


def blur(image: RGBA, rng: np.random.Generator) -> RGBA:
    """By a Gaussian of standard deviation 0.1 to 1.5."""
    size, unit = image.shape[0], image.shape[0] / BASE_SIDE
    kernel = min(2 * round(BLUR_KERNEL * unit / 2 - 0.5) + 1, 2 * ((size - 1) // 2) + 1)
    return _opaque_part(cv2.GaussianBlur(_premultiplied(image), (kernel, kernel), rng.uniform(*BLUR_SIGMAS) * unit))


def noise(image: RGBA, rng: np.random.Generator) -> RGBA:
    """Brighter in each channel of each pixel by the positive part of a normal number, half of the time."""
    if rng.random() >= 0.5:
        return image
    return _with_rgb(image, np.float32(image[..., :3]) + 255 * rng.normal(size=image[..., :3].shape).clip(0, 1))


def pixelate(image: RGBA, rng: np.random.Generator) -> RGBA:
    """In squares, 0.3 as many as there are pixels along a side, half of the time."""
    if rng.random() >= 0.5:
        return image
    side = image.shape[0]
    cells = max(1, round(PIXELATED * side))
    small = cv2.resize(_premultiplied(image), (cells, cells), interpolation=cv2.INTER_AREA)
    return _opaque_part(cv2.resize(small, (side, side), interpolation=cv2.INTER_NEAREST))


def elastic(image: RGBA, rng: np.random.Generator) -> RGBA:
    """Bent by a smooth field, half of the time."""
    if rng.random() >= 0.5:
        return image
    side, unit = image.shape[0], image.shape[0] / BASE_SIDE
    field = rng.uniform(-1, 1, (2, side, side)).astype(np.float32)
    # A field that is smoothed by a wider Gaussian is weaker by as much, so strength grows with the square of the unit.
    right, down = (ELASTIC / 2 * unit**2 * cv2.GaussianBlur(part, (0, 0), ELASTIC_SIGMA * unit) for part in field)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    return _opaque_part(cv2.remap(_premultiplied(image), x + right, y + down, cv2.INTER_LINEAR))


def erase(image: RGBA, rng: np.random.Generator) -> RGBA:
    """Without a square of 14 x 14 of 32 x 32 pixels, half of the time."""
    if rng.random() >= 0.5:
        return image
    side = image.shape[0]
    square, found = round(ERASED * side / BASE_SIDE), image.copy()
    y, x = rng.integers(0, side - square + 1, 2)
    found[y : y + square, x : x + square, 3] = 0
    return found


def contrast(image: RGBA, rng: np.random.Generator) -> RGBA:
    """Differences to the mean grey of the object times 0 to 2."""
    rgb, alpha = np.float32(image[..., :3]), np.float32(image[..., 3])
    mean = float(((rgb @ _LUMA) * alpha).sum() / max(float(alpha.sum()), 1.0))
    return _with_rgb(image, mean + rng.uniform(1 - CONTRAST, 1 + CONTRAST) * (rgb - mean))


def _premultiplied(image: RGBA) -> NDArray[np.float32]:
    found = image.astype(np.float32)
    found[..., :3] *= found[..., 3:] / 255
    return found


def _opaque_part(premultiplied: NDArray[np.float32]) -> RGBA:
    alpha = premultiplied[..., 3:]
    rgb = np.where(alpha > 0, premultiplied[..., :3] * 255 / np.maximum(alpha, 1e-6), 0)
    return np.rint(np.concatenate([rgb, alpha], axis=2)).clip(0, 255).astype(np.uint8)


def _with_rgb(image: RGBA, rgb: NDArray) -> RGBA:
    return np.concatenate([np.rint(rgb).clip(0, 255).astype(np.uint8), image[..., 3:]], axis=2)


GEOMETRIC = ("scale", "v_flip", "h_flip", "shear", "rotate", "translate")
PHOTOMETRIC = ("hue", "brightness", "grayscale", "posterize", "invert", "sharpen")
CORRUPTION = ("blur", "noise", "pixelate", "elastic", "erase", "contrast")
_FUNCTIONS: tuple[Transform, ...] = (
    *(scale, v_flip, h_flip, shear, rotate, translate),
    *(hue, brightness, grayscale, posterize, invert, sharpen),
    *(blur, noise, pixelate, elastic, erase, contrast),
)
TRANSFORMS: dict[str, Transform] = {function.__name__: function for function in _FUNCTIONS}
"""By name, in the order in which they are applied."""


def ordered(names: Sequence[str]) -> tuple[str, ...]:
    """Names in the order of `TRANSFORMS`.

    Raises:
        ValueError: an unknown or repeated name.
    """
    unknown = [name for name in names if name not in TRANSFORMS]
    if unknown or len(set(names)) != len(names):
        raise ValueError(f"transforms: expected different ones of {', '.join(TRANSFORMS)}, found {list(names)}")
    return tuple(name for name in TRANSFORMS if name in names)


def apply_transforms(image: RGBA, names: Sequence[str], seed: int, index: int) -> RGBA:
    """Some transforms of a picture; each draws from a stream of its own, of the seed and the picture's number."""
    for name in ordered(names):
        stream = list(TRANSFORMS).index(name)
        image = TRANSFORMS[name](image, np.random.default_rng((seed, index, stream)))
    return image
