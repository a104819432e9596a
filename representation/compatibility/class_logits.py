"""`ClassLogits`: the classifier under which unit vectors are trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class ClassLogits(nn.Linear):
    """A linear classifier without bias.

    Args:
        width: numbers of a vector.
        num_classes: number C of classes.
        temperature: that cosines to the rows are multiplied by; None for plain products, whose scale the rows learn.
        generator: draws the first weights.
    """

    def __init__(
        self,
        width: int,
        num_classes: int,
        temperature: float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(width, num_classes, bias=False)
        self.temperature = temperature
        nn.init.normal_(self.weight, std=width**-0.5, generator=generator)

    def forward(self, vectors: Tensor) -> Tensor:
        """Logits (B, C) of vectors (B, width)."""
        if self.temperature is None:
            return super().forward(vectors)
        return self.temperature * F.normalize(vectors, dim=1) @ F.normalize(self.weight, dim=1).T
