"""Whether two trainings find the same causes: as far as one is a linear map of the other (weak MCC)."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_correlation_coefficient(a: Tensor, b: Tensor) -> float:
    """Mean over the numbers of b of their correlation with what the best affine map of a tells of them; in [0, 1].

    Args:
        a: latent causes (N, p) by one model.
        b: of the same scenes, (N, q), by another one.

    Raises:
        ValueError: other numbers of scenes, or not more of them than numbers of a and one.
    """
    if len(a) != len(b) or len(a) <= a.shape[1] + 1:
        raise ValueError(f"a, b: expected as many scenes of each, more than {a.shape[1] + 1}, found {len(a)}, {len(b)}")
    a, b = a.double(), b.double()
    known = torch.cat([a, torch.ones(len(a), 1, dtype=a.dtype)], dim=1)
    told = known @ torch.linalg.lstsq(known, b).solution
    told, b = told - told.mean(dim=0), b - b.mean(dim=0)
    product = told.norm(dim=0) * b.norm(dim=0)
    return float(torch.where(product > 0, (told * b).sum(dim=0) / product, 0.0).mean())
