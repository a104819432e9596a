"""`RelativeMemory`: what was seen, by its coordinates; another encoder needs the anchors, and nothing else, anew."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from representation.compatibility.relative_representations.encoder import RelativeEncoder
from representation.compatibility.retrieval import prefix_similarity


class RelativeMemory:
    """Coordinates with a payload each, found by cosine.

    Args:
        dim_anchors: numbers k of a vector.
        anchor_inputs: the anchors (k, ...) as encoders take them; without them no encoder can be swapped in.
    """

    def __init__(self, dim_anchors: int, anchor_inputs: Tensor | None = None) -> None:
        if anchor_inputs is not None and len(anchor_inputs) != dim_anchors:
            raise ValueError(f"anchor_inputs: expected {dim_anchors}, found {len(anchor_inputs)}")
        self.dim_anchors = dim_anchors
        self._anchor_inputs = anchor_inputs
        self._vectors = torch.zeros(0, dim_anchors)
        self._payloads: list[Any] = []

    def __len__(self) -> int:
        return len(self._payloads)

    def add(self, r: Tensor, payload: Sequence[Any]) -> None:
        """Store coordinates (N, k) with N payloads."""
        self._check(r)
        if len(r) != len(payload):
            raise ValueError(f"payload: expected {len(r)}, found {len(payload)}")
        self._vectors = torch.cat([self._vectors, r.detach().float()])
        self._payloads += list(payload)

    def query(self, r: Tensor, k: int) -> list[list[tuple[Any, float]]]:
        """The k most similar entries for each of (Q, k): payload and cosine, best first."""
        self._check(r)
        best = prefix_similarity(r.float(), self._vectors).topk(min(k, len(self)), dim=1)
        return [
            [(self._payloads[row], value) for row, value in zip(rows, values, strict=True)]
            for rows, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def swap_encoder(self, new_encoder: Any) -> RelativeEncoder:
        """An encoder of queries out of another encoder: the anchors are encoded, what is stored stays as it is.

        Raises:
            ValueError: the memory was made without anchors.
        """
        if self._anchor_inputs is None:
            raise ValueError("anchor_inputs: expected the anchors to swap an encoder, found none")
        encoder = RelativeEncoder(new_encoder, self._anchor_inputs).eval()
        encoder.refresh()
        return encoder

    def digest(self) -> str:
        """SHA-256 of all stored vectors; tells that none was rewritten."""
        return hashlib.sha256(self._vectors.numpy().tobytes()).hexdigest()

    def _check(self, r: Tensor) -> None:
        if r.ndim != 2 or r.shape[1] != self.dim_anchors:
            raise ValueError(f"r: expected (N, {self.dim_anchors}), found {tuple(r.shape)}")
