"""Training without some of the conditions, now and then, so that the policy relies on none of them alone.

Source: RDT-1B (arXiv 2410.07864) and its training code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from policies.rdt.images import CAMERA_ROLES

PROBABILITY = 0.1


@dataclass(frozen=True)
class Substitutes:
    """What takes the place of dropped conditions.

    Attributes:
        state: (128,) or (B, 128) mean state of the data set that a sample comes from.
        image: the background of one picture, as the batch has pictures: pixels (3, S, S) or features (tokens, width).
        language: (L, width) embedding of the empty text.
    """

    state: Tensor
    image: Tensor
    language: Tensor


def drop_conditions(
    batch: dict[str, Tensor],
    substitutes: Substitutes,
    generator: torch.Generator,
    probability: float = PROBABILITY,
    exterior: float | None = None,
) -> dict[str, Tensor]:
    """Drop conditions of a batch, each of every sample by a draw of its own.

    Args:
        batch: by name
            `frequency` (B,) control frequency, Hz; dropped: 0, "unknown".
            `state` (B, 1, 128); dropped: the mean state.
            `mask` (B, 128) of state and actions; dropped: zeros.
            `images` (B, 6, ...) pixels or features in token order, each of the six dropped alone: the background.
            `language` (B, L, width) and `language_mask` (B, L) bool; dropped: the embedding of the empty text.
            `history_present` (B, N) bool, where there is one; dropped: no step of it.
            Other entries are handed on.
        substitutes: on the batch's device.
        generator: on the CPU.
        probability: of dropping.
        exterior: of dropping a picture of the exterior camera; by default likewise.

    Returns:
        A new batch; the one handed over stays as it is.

    Raises:
        ValueError: a probability outside [0, 1], or shapes that do not fit.
    """
    exterior = probability if exterior is None else exterior
    for name, value in (("probability", probability), ("exterior", exterior)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name}: expected 0 to 1, found {value}")
    images, language, mask = batch["images"], batch["language"], batch["language_mask"]
    if substitutes.image.shape != images.shape[2:]:
        raise ValueError(
            f"substitutes.image: expected {tuple(images.shape[2:])}, found {tuple(substitutes.image.shape)}"
        )
    empty = substitutes.language
    if empty.ndim != 2 or empty.shape[1] != language.shape[2] or not 1 <= len(empty) <= language.shape[1]:
        raise ValueError(
            f"substitutes.language: expected (L, {language.shape[2]}) with 1 <= L <= {language.shape[1]}, "
            f"found {tuple(empty.shape)}"
        )

    def drawn(like: Tensor, chance: float | Tensor = probability, axes: int = 1) -> Tensor:
        """Draws for the first axes of a tensor, ready to be broadcast."""
        shape = like.shape[:axes]
        draws = (torch.rand(shape, generator=generator) < chance).to(like.device)
        return draws.reshape(*shape, *(1,) * (like.ndim - axes))

    is_exterior = torch.arange(images.shape[1]) % len(CAMERA_ROLES) == 0
    of_images = torch.where(is_exterior, exterior, probability)

    no_language = language.new_zeros(language.shape[1:])
    no_language[: len(empty)] = empty
    no_language_mask = torch.arange(language.shape[1], device=mask.device) < len(empty)
    without_language = drawn(language)
    mean_state = substitutes.state.to(batch["state"]).expand(len(images), -1)[:, None]
    result = batch | {
        "frequency": batch["frequency"].masked_fill(drawn(batch["frequency"]), 0),
        "state": torch.where(drawn(batch["state"]), mean_state, batch["state"]),
        "mask": batch["mask"].masked_fill(drawn(batch["mask"]), 0),
        "images": torch.where(drawn(images, of_images, axes=2), substitutes.image.to(images), images),
        "language": torch.where(without_language, no_language, language),
        "language_mask": torch.where(without_language[..., 0], no_language_mask, mask),
    }
    if "history_present" in batch:
        result["history_present"] = batch["history_present"] & ~drawn(batch["history_present"])
    return result
