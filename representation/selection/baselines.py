"""Encoders that every ranking has beside its candidates: raw pixels, and a small network that learned nothing."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from representation.data.frames import Frames
from representation.interface import Encoder, Modality
from representation.pretraining import mochi
from representation.pretraining.small_encoder import resized

RAW_SIDE = 16  # pixels


class RawPixels:
    """An `Encoder` without weights: small pictures as vectors (B, 768)."""

    modality: Modality = "image"
    width = 3 * RAW_SIDE**2

    def encode(self, inputs: Tensor) -> Tensor:
        """Vectors (B, 768) in [0, 1] of pictures (B, 3, H, W) in [0, 1]."""
        return resized(inputs, RAW_SIDE).flatten(1)

    def save(self, directory: Path) -> None:
        """There is nothing to write.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{directory}: expected an encoder with weights to save, found raw pixels")


def baselines(frames: Frames, seed: int) -> dict[str, Encoder]:
    """Raw pixels and an untrained network of pictures, by name."""
    return {"raw pixels": RawPixels(), "untrained": mochi.new(mochi.Config(), frames, seed).encoder.eval()}
