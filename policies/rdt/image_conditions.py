"""`ImageConditions`: keys and values of the images, where missing ones cost nothing after the first time.

A camera or a frame that is missing is a constant picture (RDT-1B, arXiv 2410.07864), whose keys and values are
constants of its slot.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from policies.rdt.network import Attended, RDTModel


class ImageConditions:
    """Encodes the images of one observation at a time.

    Args:
        model: its weights must not change afterwards.
        background: (tokens, img_token_dim) features of the picture that stands for a missing one.
    """

    def __init__(self, model: RDTModel, background: Tensor) -> None:
        self._model = model
        self._background = background
        self._constant: dict[int, Attended] = {}

    def encode(self, images: Sequence[Tensor | None]) -> Attended:
        """Keys and values, batch 1, of features (tokens, img_token_dim) in order of time, camera; None where missing.

        Raises:
            ValueError: another number of images than the network has slots.
        """
        times, cameras, length = self._model.config.image_grid
        if len(images) != times * cameras:
            raise ValueError(f"images: expected {times * cameras}, None where missing, found {len(images)}")
        present = [slot for slot, image in enumerate(images) if image is not None]
        fresh = self._encoded([images[slot] for slot in present], present)
        if len(present) == len(images):
            return fresh
        parts: dict[int, Sequence[tuple[Tensor, Tensor]]] = dict(zip(present, _parts(fresh, length), strict=True))
        for slot in range(len(images)):
            if slot not in parts:
                if slot not in self._constant:
                    self._constant[slot] = self._encoded([self._background], [slot])
                parts[slot] = self._constant[slot].pairs
        ordered = [parts[slot] for slot in range(len(images))]
        return Attended([_joined(pairs) for pairs in zip(*ordered, strict=True)])

    def _encoded(self, images: Sequence[Tensor], slots: Sequence[int]) -> Attended:
        if not slots:
            return Attended([])
        return self._model.encode_images(torch.cat(list(images))[None], slots)


def _joined(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.cat([keys for keys, _ in pairs], dim=2), torch.cat([values for _, values in pairs], dim=2)


def _parts(attended: Attended, length: int) -> list[list[tuple[Tensor, Tensor]]]:
    """Pairs of each block, image by image."""
    if not attended.pairs:
        return []
    count = attended.pairs[0][0].shape[2] // length
    cut = [[tensor.split(length, dim=2) for tensor in pair] for pair in attended.pairs]
    return [[(keys[i], values[i]) for keys, values in cut] for i in range(count)]
