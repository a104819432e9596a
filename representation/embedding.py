"""Vectors of many frames."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from representation.data.clips import history
from representation.data.clouds import clouds
from representation.data.documents import documents
from representation.data.frames import Frames
from representation.interface import DocumentEncoder, Encoder, Modality, SeveralEncoder


def inputs_of(encoder: Encoder, frames: Frames, rows: NDArray[np.int64]) -> Tensor | dict[str, Tensor]:
    """What an encoder takes of some rows: pictures, their clouds, or clips from the beginning of their episodes.

    One of several modalities takes them by name.

    Raises:
        ValueError: the encoder takes something else, or the frames lack it.
    """
    if isinstance(encoder, SeveralEncoder) and encoder.modality == "several":
        return {name: inputs_by(name, frames, rows) for name in encoder.modalities}
    return inputs_by(encoder.modality, frames, rows)


def inputs_by(modality: Modality, frames: Frames, rows: NDArray[np.int64]) -> Tensor:
    """Inputs of one modality; errors as of `inputs_of`."""
    if modality == "image":
        return frames.pixels(rows)
    if modality == "clip":
        return history(frames, rows)
    if modality == "points":
        return clouds(frames, rows)
    raise ValueError(f"encoder: expected one of pictures, clips or points, found one of {modality}")


@torch.inference_mode()
def embed(
    encoder: Encoder | DocumentEncoder, frames: Frames, rows: NDArray[np.int64] | None = None, batch_size: int = 128
) -> NDArray:
    """Vectors (N, D) float32 of frames.

    Args:
        encoder: of pictures, clips, points, or documents, which are made of what else is known of the frames.
        frames: which hold them.
        rows: of these; all if None.
        batch_size: frames at a time.

    Raises:
        ValueError: see `inputs_of`.
    """
    rows = np.arange(len(frames)) if rows is None else rows
    if isinstance(encoder, DocumentEncoder):
        return encoder.encode_batch(documents(frames, rows))
    device = next(encoder.parameters()).device if isinstance(encoder, nn.Module) else torch.device("cpu")
    parts = []
    for start in range(0, len(rows), batch_size):
        inputs = inputs_of(encoder, frames, rows[start : start + batch_size])
        moved = {k: v.to(device) for k, v in inputs.items()} if isinstance(inputs, dict) else inputs.to(device)
        parts.append(encoder.encode(moved).float().cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, encoder.width), np.float32)
