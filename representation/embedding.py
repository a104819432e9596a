"""Vectors of many frames."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from representation.data.frames import Frames
from representation.interface import Encoder


@torch.inference_mode()
def embed(encoder: Encoder, frames: Frames, rows: NDArray[np.int64] | None = None, batch_size: int = 128) -> NDArray:
    """Vectors (N, D) float32 of pictures.

    Args:
        encoder: of pictures.
        frames: which hold them.
        rows: of these; all if None.
        batch_size: pictures at a time.

    Raises:
        ValueError: the encoder takes something else than pictures.
    """
    if encoder.modality != "image":
        raise ValueError(f"encoder: expected one of pictures, found one of {encoder.modality}")
    rows = np.arange(len(frames)) if rows is None else rows
    device = next(encoder.parameters()).device if isinstance(encoder, nn.Module) else torch.device("cpu")
    parts = [
        encoder.encode(frames.pixels(rows[start : start + batch_size]).to(device)).float().cpu().numpy()
        for start in range(0, len(rows), batch_size)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, encoder.width), np.float32)
