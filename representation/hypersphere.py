"""How unit vectors lie on their sphere, and those of two kinds to each other; higher is better unless it says so.

Sources: uniformity and alignment, Wang and Isola (arXiv 2005.10242); the modality gap, Liang et al. (arXiv 2203.02053);
the signs and the relative alignment, Oh et al. (arXiv 2203.03897).
"""

from __future__ import annotations

import torch
from torch import Tensor


def uniformity(vectors: Tensor, t: float = 2.0) -> float:
    """-log of the mean of exp(-t d²) over all pairs of vectors (N, D) at distances d."""
    return float(-torch.pdist(vectors.float()).square().mul(-t).exp().mean().log())


def alignment(a: Tensor, b: Tensor) -> float:
    """Mean squared distance of vectors (N, D) from their partners (N, D); lower is better."""
    return float((a - b).float().square().sum(dim=1).mean())


def relative_alignment(a: Tensor, b: Tensor) -> float:
    """By how much each unit vector of `a` (N, D) is nearer to its partner in `b` than to the next best there.

    In squared distances, averaged over `a`.
    """
    distances = 2 - 2 * a.float() @ b.float().T
    own = distances.diagonal().clone()
    others = distances.fill_diagonal_(torch.inf).min(dim=1).values
    return float((others - own).mean())


def modality_gap(a: Tensor, b: Tensor) -> float:
    """Distance between the means of vectors (N, D) and (M, D); lower is better."""
    return float((a.float().mean(dim=0) - b.float().mean(dim=0)).norm())


def retrieval_recall(a: Tensor, b: Tensor, k: int = 1) -> float:
    """Share of vectors of `a` (N, D) whose partner in `b` (N, D) is among the k most similar ones."""
    similarity = a @ b.T
    better = (similarity > similarity.diagonal()[:, None]).sum(dim=1)
    return float((better < k).float().mean())


def expected_calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Mean difference between how sure and how often right the best class is; lower is better.

    Args:
        probabilities: (N, C).
        labels: (N,).
        bins: of equal width, of how sure.
    """
    sure, best = probabilities.float().max(dim=1)
    bin_of = (sure * bins).ceil().long().clamp(1, bins) - 1
    excess = torch.zeros(bins).index_add_(0, bin_of.cpu(), (sure - (best == labels).float()).cpu())
    return float(excess.abs().sum() / len(sure))
