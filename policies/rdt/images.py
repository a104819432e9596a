"""Camera pictures in the order and form in which RDT-1B (arXiv 2410.07864) sees them.

The six pictures of a sample are sorted by time, then by the camera's role. A picture that is missing, because the robot
has no such camera, because it is lost, or because the episode has just begun, is `background_image`; never another
camera's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

CameraRole = Literal["exterior", "right_wrist", "left_wrist"]
CAMERA_ROLES: tuple[CameraRole, ...] = get_args(CameraRole)
"""In token order. The wrist camera of a single arm is the right one."""
FRAMES = 2
"""Pictures of each camera: one step ago, and now."""
IMAGE_SLOTS = FRAMES * len(CAMERA_ROLES)
BACKGROUND_LEVEL = 127
"""Grey level of padding and of pictures that stand for missing ones: int(0.5 * 255)."""

Picture = NDArray[np.uint8]


def ordered_pictures(frames: Mapping[CameraRole, Sequence[Picture | None]]) -> list[Picture | None]:
    """Pictures in token order: exterior, right wrist, left wrist of one step ago, then the same of now.

    Args:
        frames: by role, the picture of one step ago and that of now, None where missing. Roles may be left out.

    Returns:
        6 pictures (H, W, 3), None where missing.

    Raises:
        ValueError: an unknown role, or another number of pictures than 2.
    """
    unknown = sorted(set(frames) - set(CAMERA_ROLES))
    if unknown:
        raise ValueError(f"camera roles: expected some of {list(CAMERA_ROLES)}, found {unknown}")
    for role, pictures in frames.items():
        if len(pictures) != FRAMES:
            raise ValueError(f"{role}: expected {FRAMES} pictures, None where missing, found {len(pictures)}")
    missing = (None,) * FRAMES
    return [frames.get(role, missing)[step] for step in range(FRAMES) for role in CAMERA_ROLES]


def pad_to_square(picture: Picture) -> Picture:
    """Centre a picture (H, W, 3) uint8 in the smallest square of colour 127; an odd rest goes to the right or below.

    Raises:
        ValueError: another shape or type.
    """
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise ValueError(f"picture: expected uint8 of shape (H, W, 3), found {picture.dtype} {picture.shape}")
    height, width = picture.shape[:2]
    if height == width:
        return picture
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = np.full((side, side, 3), BACKGROUND_LEVEL, dtype=np.uint8)
    square[top : top + height, left : left + width] = picture
    return square


def content_of(square: Picture) -> tuple[slice, slice]:
    """Rows and columns of a padded picture between its outermost ones that are not wholly of the padding's colour."""
    is_content = (square != BACKGROUND_LEVEL).any(axis=-1)
    if not is_content.any():
        return slice(0, len(square)), slice(0, len(square))
    rows, columns = (np.flatnonzero(is_content.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def prepare_picture(picture: Picture, size: int) -> Tensor:
    """Pixels (3, size, size) float32 in [-1, 1] of a picture; see `square_picture`."""
    return scaled_pixels(torch.from_numpy(square_picture(picture, size)))


def square_picture(picture: Picture, size: int) -> Picture:
    """Pad a picture to a square and resize it bicubically by PIL.

    Other libraries resize otherwise, by up to one grey level; the released weights were trained with PIL.

    Args:
        picture: (H, W, 3) uint8, RGB.
        size: side of the image tower's input, pixels.

    Returns:
        (size, size, 3) uint8.

    Raises:
        ValueError: another shape or type.
    """
    square = Image.fromarray(pad_to_square(picture))
    return np.array(square.resize((size, size), Image.Resampling.BICUBIC))


def scaled_pixels(pictures: Tensor) -> Tensor:
    """Pixels (..., 3, S, S) float32 in [-1, 1] of pictures (..., S, S, 3) uint8."""
    return (pictures.movedim(-1, -3).float() / 255.0 - 0.5) / 0.5


def background_image(size: int) -> Tensor:
    """Pixels (3, size, size) of the constant picture that stands for a missing one."""
    return scaled_pixels(torch.full((size, size, 3), BACKGROUND_LEVEL, dtype=torch.uint8))


def prepare_pictures(pictures: Sequence[Picture | None], size: int) -> tuple[Tensor, Tensor]:
    """Pixels of pictures, with the background where one is missing.

    Args:
        pictures: N of shape (H, W, 3) uint8, of any sizes, None where missing.
        size: side of the image tower's input, pixels.

    Returns:
        (N, 3, size, size) float32, and (N,) bool, True where a picture is present.

    Raises:
        ValueError: a picture of another shape or type.
    """
    background = background_image(size)
    pixels = [background if picture is None else prepare_picture(picture, size) for picture in pictures]
    return torch.stack(pixels), torch.tensor([picture is not None for picture in pictures])
