"""`RDTTraining`: options of `policies.train` that only RDT has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class RDTTraining:
    """Options of an RDT policy.

    Attributes:
        exterior: camera that sees the whole scene; "" for none.
        right_wrist: camera of the right, or the only, wrist; "" for none.
        left_wrist: camera of the left wrist; "" for none.
        history: see pictures of one step ago too. Without them the network has half the image tokens.
        chunk: rows of a chunk.
        image_size: side of the pictures, pixels; a multiple of the patch's.
        patch_size: side of the part of a picture that becomes one image token, pixels.
        objective: "diffusion", or "regression" of the same trunk, for comparison.
        max_delay: rows that may be given clean at the start of a chunk (arXiv 2512.05964); 0 trains no such network.
        drop: probability of leaving out each of the conditions.
        state_snr_db: signal-to-noise ratio of the noise on the state.
    """

    exterior: str = "top"
    right_wrist: str = "right_wrist"
    left_wrist: str = "left_wrist"
    history: bool = True
    chunk: int = 32
    image_size: int = 64
    patch_size: int = 8
    objective: Literal["diffusion", "regression"] = "diffusion"
    max_delay: int = 0
    drop: float = 0.1
    state_snr_db: float = 40.0

    def __post_init__(self) -> None:
        if self.patch_size < 1:
            raise ValueError(f"patch_size: expected at least 1, found {self.patch_size}")
        if self.image_size < self.patch_size or self.image_size % self.patch_size:
            raise ValueError(
                f"image_size: expected a multiple of patch_size {self.patch_size}, found {self.image_size}"
            )
        if not (self.exterior or self.right_wrist or self.left_wrist):
            raise ValueError("cameras: expected at least one of exterior, right_wrist, left_wrist, found none")
        if self.objective == "regression" and self.max_delay:
            raise ValueError("max_delay: expected 0 with regression, which has no noisy actions")
