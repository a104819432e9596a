"""What is looked for, as a vector: of a picture, a text or a JSON value."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from representation.data.frames import as_pixels
from representation.interface import DocumentEncoder, Encoder, TextEncoder


@torch.inference_mode()
def picture_vector(encoder: Encoder | DocumentEncoder, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The vector (D,) of a picture (H, W, 3) RGB.

    Raises:
        ValueError: the encoder takes no pictures.
    """
    if encoder.modality != "image":
        raise ValueError(f"picture: expected an encoder of pictures, found one of {encoder.modality}")
    return encoder.encode(as_inputs(image).to(_device(encoder)))[0].float().cpu().numpy()


def as_inputs(image: NDArray[np.uint8]) -> Tensor:
    """A picture (H, W, 3) as an encoder takes it, (1, 3, H, W) in [0, 1]."""
    return as_pixels(image[None])


@torch.inference_mode()
def text_vector(encoder: Encoder | DocumentEncoder, text: str) -> NDArray[np.float32]:
    """The vector (D,) of a text.

    Raises:
        ValueError: the encoder takes no texts.
    """
    if not isinstance(encoder, TextEncoder):
        raise ValueError(f"text: expected an encoder of pictures and texts, found {type(encoder).__name__}")
    return encoder.encode_texts([text])[0].float().cpu().numpy()


def state_vector(encoder: Encoder | DocumentEncoder, state: Any) -> NDArray[np.float32]:
    """The vector (D,) of a JSON value.

    Raises:
        ValueError: the encoder takes no JSON.
    """
    if not isinstance(encoder, DocumentEncoder):
        raise ValueError(f"state: expected an encoder of json, found one of {encoder.modality}")
    return encoder.encode_batch([state])[0]


def read_picture(path: Path) -> NDArray[np.uint8]:
    """A picture (H, W, 3) RGB of a file.

    Raises:
        ValueError: it is none.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    if image is None:
        raise ValueError(f"{path}: expected a picture, found none that OpenCV reads")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def asked(requests: Mapping[str, Any]) -> str:
    """The one kind of request that is not empty.

    Raises:
        ValueError: none, or several.
    """
    given = [name for name, value in requests.items() if value not in (None, "")]
    if len(given) != 1:
        raise ValueError(f"query: expected one of {', '.join(requests)}, found {given or 'none'}")
    return given[0]


def _device(encoder: Any) -> torch.device:
    return next(encoder.parameters()).device if isinstance(encoder, nn.Module) else torch.device("cpu")
