"""`CosFaceHead`: classes as directions, with a margin for the right one (Wang et al., arXiv 1801.09414)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class CosFaceHead(nn.Module):
    """Cross-entropy of scaled cosines; the right class must win by a margin. Its weights serve training only.

    Args:
        in_dim: numbers D of a vector.
        n_classes: number C of classes.
        s: scale of the cosines; 64 saturates early with few classes, 16 to 30 do not.
        m: margin.
        generator: draws the first directions.
    """

    def __init__(
        self, in_dim: int, n_classes: int, s: float = 64.0, m: float = 0.35, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.s, self.m = s, m
        self.weight = nn.Parameter(torch.empty(n_classes, in_dim))
        nn.init.xavier_uniform_(self.weight, generator=generator)

    def logits(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """S (cos - m [right class]) (B, C) of vectors (B, D) and classes (B,), in float32."""
        with torch.autocast(vectors.device.type, enabled=False):
            v, w = vectors.float(), self.weight.float()
            lengths = v.norm(dim=1)[:, None] * w.norm(dim=1)
            cosines = v @ w.T / lengths.clamp(min=1e-8)
            return self.s * (cosines - self.m * F.one_hot(labels, len(w)))

    def forward(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """The loss of vectors (B, D) and classes (B,)."""
        return F.cross_entropy(self.logits(vectors, labels), labels)
