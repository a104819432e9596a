"""Colour images as an array of bytes on the wire: raw, or compressed where the network is slow."""

from __future__ import annotations

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from policies.remote.address import Compression

JPEG_QUALITY = 90


def compress(rgb: NDArray[np.uint8], compression: Compression) -> NDArray[np.uint8]:
    """The wire's form of an image (H, W, 3): itself, or the bytes (n,) of a file."""
    if compression == "raw":
        return rgb
    file = io.BytesIO()
    options = {"quality": JPEG_QUALITY} if compression == "jpeg" else {"compress_level": 1}
    Image.fromarray(rgb).save(file, compression, **options)
    return np.frombuffer(file.getbuffer(), np.uint8)


def decompress(data: NDArray[np.uint8], compression: Compression, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The image (H, W, 3) of a file from an untrusted peer.

    Args:
        data: (H, W, 3), or (n,) bytes of a file.
        compression: the form of `data`.
        size: height and width that the image must have; compared before anything is decoded.

    Raises:
        ValueError: no such image.
    """
    if compression == "raw":
        return data
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(io.BytesIO(data.tobytes()), formats=[compression]) as file,
        ):
            if (file.height, file.width, file.mode) != (*size, "RGB"):
                raise ValueError(f"expected {size} in RGB, found {(file.height, file.width)} in {file.mode}")
            return np.array(file)
    # What a decoder raises about damaged files differs from format to format.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"rgb: expected a {compression} image: {error}") from error
