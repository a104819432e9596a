"""How alike two spaces are, and what it costs to put an encoder of one before a head of the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.compatibility.retrieval import mean_reciprocal_rank


def latent_similarity(a: Tensor, b: Tensor, k: int = 10) -> dict[str, float]:
    """How alike two encodings of the same samples are, as far as neighbours by cosine tell.

    Args:
        a: vectors (N, d) by one encoder.
        b: vectors (N, d) by the other.
        k: neighbours.

    Returns:
        `jaccard`, the mean overlap of the k neighbours in `b` of a sample's two vectors; `mrr`, the mean reciprocal
        rank in `b` of the sample itself, found by its vector in `a`; `cosine` between its two vectors. The last one
        says little where all cosines are near 1, and the first two depend on N.
    """
    if a.shape != b.shape:
        raise ValueError(f"b: expected {tuple(a.shape)}, as in a, found {tuple(b.shape)}")
    a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    across, within = a @ b.T, b @ b.T
    own = across.diagonal()
    is_near = [torch.zeros(s.shape, dtype=torch.bool).scatter_(1, s.topk(k, 1).indices, True) for s in (across, within)]
    shared, either = (is_near[0] & is_near[1]).sum(dim=1), (is_near[0] | is_near[1]).sum(dim=1)
    return {
        "jaccard": float((shared / either).mean()),
        "mrr": mean_reciprocal_rank(a, b),
        "cosine": float(own.mean()),
    }


class Stitched(nn.Module):
    """A head behind an encoder; neither need know of the other."""

    def __init__(self, encoder: Any, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, x: Tensor) -> Tensor:
        """What the head makes of the encoder's vectors."""
        return self.head(self.encoder(x))


def stitch(encoder: Any, head: nn.Module) -> Stitched:
    """One network out of an encoder and a head that were trained apart; nothing is trained.

    Args:
        encoder: of inputs to coordinates (B, k), a `RelativeEncoder` above all.
        head: of coordinates by the same anchors.
    """
    return Stitched(encoder, head)


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """Share of (N,) classes that logits (N, C) tell."""
    return float((outputs.argmax(dim=1) == targets).float().mean())


@torch.no_grad()
def stitching_matrix(
    encoders: Sequence[Any],
    heads: Sequence[nn.Module],
    data: tuple[Tensor, Tensor],
    score: Callable[[Tensor, Tensor], float] = accuracy,
) -> NDArray[np.float64]:
    """Scores (E, H) of every encoder before every head: the diagonal is unstitched, the rest is what a swap costs.

    Args:
        encoders: E of them.
        heads: H of them.
        data: inputs and targets.
        score: of outputs and targets.
    """
    inputs, targets = data
    return np.array([[score(stitch(e, h)(inputs), targets) for h in heads] for e in encoders])
