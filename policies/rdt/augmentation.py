"""Noise on states and pictures in fine-tuning.

Source: the training code of RDT-1B (arXiv 2410.07864), which takes the corruptions from imgaug; they are computed here
with OpenCV.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from torch import Tensor

from policies.rdt.images import Picture, content_of

STATE_SNR_DB = 40.0
PICTURE_PROBABILITY = 0.5
BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.3, 0.4, 0.5, 0.03
NOISE_LEVEL = 0.05 * 255


def add_state_noise(state: Tensor, std: Tensor, generator: torch.Generator, snr_db: float = STATE_SNR_DB) -> Tensor:
    """Add Gaussian noise of a signal-to-noise ratio: 40 dB is a hundredth of the standard deviation.

    Args:
        state: (B, 1, n).
        std: (B, n) standard deviation over the sample's episode.
        generator: on the CPU.
        snr_db: 10 log10 of the ratio of variances.

    Raises:
        ValueError: shapes that do not fit.
    """
    if state.ndim != 3 or std.shape != (state.shape[0], state.shape[2]):
        raise ValueError(f"std: expected (B, n) for state (B, 1, n) {tuple(state.shape)}, found {tuple(std.shape)}")
    noise = torch.randn(state.shape, generator=generator).to(state)
    return state + noise * std.to(state)[:, None] / math.sqrt(10 ** (snr_db / 10))


def augment_pictures(
    pictures: NDArray[np.uint8],
    present: NDArray[np.bool_],
    generator: np.random.Generator,
    probability: float = PICTURE_PROBABILITY,
) -> NDArray[np.uint8]:
    """Augment each picture that is there with a probability, and not the padding that made it square; see `augment`.

    The pictures have the tower's size already. The released fine-tuning augments them before they are resized, so of a
    larger picture its noise is finer and its blurs, whose sides are in pixels, are narrower than these.

    Args:
        pictures: (..., S, S, 3) RGB; not changed.
        present: (...) which are there.
        generator: of all draws.
        probability: of being augmented.
    """
    result = pictures.copy()
    for place in np.argwhere(present):
        if generator.random() < probability:
            square = result[tuple(place)]
            content = content_of(square)
            square[content] = augment(np.ascontiguousarray(square[content]), generator)
    return result


def augment(picture: Picture, generator: np.random.Generator) -> Picture:
    """Change a picture's colours, corrupt it, or both, with a probability of 1/3 each.

    Args:
        picture: (H, W, 3) uint8 RGB; not changed.
        generator: of all draws.
    """
    kind = generator.integers(3)
    if kind != 0:
        picture = jitter_colours(picture, generator)
    if kind != 1:
        picture = corrupt(picture, generator)
    return picture


def jitter_colours(picture: Picture, generator: np.random.Generator) -> Picture:
    """Change brightness, contrast and saturation by factors, and hue by a part of the circle, in random order.

    Ranges: brightness 1 -+ 0.3, contrast 1 -+ 0.4, saturation 1 -+ 0.5, hue -+ 0.03.
    """
    image = Image.fromarray(picture)
    for kind in generator.permutation(4):
        if kind == 0:
            image = ImageEnhance.Brightness(image).enhance(_factor(BRIGHTNESS, generator))
        elif kind == 1:
            image = ImageEnhance.Contrast(image).enhance(_factor(CONTRAST, generator))
        elif kind == 2:
            image = ImageEnhance.Color(image).enhance(_factor(SATURATION, generator))
        else:
            image = _turn_hue(image, generator.uniform(-HUE, HUE))
    return np.array(image)


def corrupt(picture: Picture, generator: np.random.Generator) -> Picture:
    """Add noise and, half of the time, blur, in random order."""
    steps: list[Callable[[Picture, np.random.Generator], Picture]] = [_add_noise]
    if generator.integers(2):
        steps.append(_motion_blur if generator.integers(2) else _blur)
    for index in generator.permutation(len(steps)):
        picture = steps[index](picture, generator)
    return picture


def _factor(spread: float, generator: np.random.Generator) -> float:
    return float(generator.uniform(1 - spread, 1 + spread))


def _turn_hue(image: Image.Image, part: float) -> Image.Image:
    hsv = np.array(image.convert("HSV"))
    hsv[..., 0] += np.uint8(int(part * 255) % 256)  # wraps around, as hue does
    return Image.fromarray(hsv, mode="HSV").convert("RGB")


def _add_noise(picture: Picture, generator: np.random.Generator) -> Picture:
    """Gaussian, Laplace or signed Poisson noise of a scale up to 12.75 levels, alike or not alike in the channels."""
    shape = picture.shape if generator.integers(2) else (*picture.shape[:2], 1)
    scale = generator.uniform(0, NOISE_LEVEL)
    kind = generator.integers(3)
    if kind == 0:
        noise: NDArray = generator.normal(0, scale, shape)
    elif kind == 1:
        noise = generator.laplace(0, scale, shape)
    else:
        noise = generator.poisson(scale, shape) * generator.choice([-1, 1], shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


def _blur(picture: Picture, generator: np.random.Generator) -> Picture:
    """Gaussian blur of sigma up to 3 px, mean over 2 to 7 px, or median over 3 to 11 px (odd)."""
    kind = generator.integers(3)
    if kind == 0:
        sigma = generator.uniform(0, 3)
        side = 2 * math.ceil(3 * sigma) + 1
        return cv2.GaussianBlur(picture, (side, side), sigma)
    if kind == 1:
        side = int(generator.integers(2, 8))
        return cv2.blur(picture, (side, side))
    return cv2.medianBlur(picture, 2 * int(generator.integers(1, 6)) + 1)


def _motion_blur(picture: Picture, generator: np.random.Generator) -> Picture:
    """Blur along a line of 3 to 35 px (odd, so that nothing shifts) at any angle, weighted towards one of its ends."""
    side = 2 * int(generator.integers(1, 18)) + 1
    direction = generator.uniform(-1, 1)
    kernel = np.zeros((side, side), dtype=np.float32)
    kernel[:, side // 2] = np.linspace((1 + direction) / 2, (1 - direction) / 2, side)
    centre = ((side - 1) / 2, (side - 1) / 2)
    turn = cv2.getRotationMatrix2D(centre, float(generator.uniform(0, 360)), 1.0)
    kernel = cv2.warpAffine(kernel, turn, (side, side))
    return cv2.filter2D(picture, -1, kernel / kernel.sum())
