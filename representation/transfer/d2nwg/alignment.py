"""`alignment_loss`: brings vectors of weights and of the datasets that they were trained on together."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def alignment_loss(w_emb: Tensor, d_emb: Tensor, temperature: float = 1.0) -> Tensor:
    """Contrastive loss whose targets are soft: pairs whose weights, or whose datasets, are alike may look alike.

    Logits are W Dᵀ / T, targets softmax((D Dᵀ + W Wᵀ) / 2 · T); the mean of the cross-entropies of rows and columns.

    Args:
        w_emb: vectors (B, D) of weights.
        d_emb: vectors (B, D) of datasets, in the same order.
        temperature: T.

    Raises:
        ValueError: of different shapes.
    """
    if w_emb.ndim != 2 or w_emb.shape != d_emb.shape:
        raise ValueError(f"d_emb: expected {tuple(w_emb.shape)} as of w_emb, found {tuple(d_emb.shape)}")
    logits = w_emb @ d_emb.T / temperature
    targets = ((d_emb @ d_emb.T + w_emb @ w_emb.T) / 2 * temperature).softmax(dim=1)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets.T)) / 2
