"""The polar decomposition of matrices with a positive determinant, and the chart that it gives."""

from __future__ import annotations

import torch
from torch import Tensor


def polar_decompose(g: Tensor) -> tuple[Tensor, Tensor]:
    """A stretch P, symmetric and positive, and a rotation R with g = P R, for matrices (..., n, n).

    Raises:
        ValueError: another shape, or a determinant that is not positive.
    """
    log_stretch, rotation = _parts(g)
    return _symmetric_exp(log_stretch), rotation


def polar_log(g: Tensor) -> Tensor:
    """The sum of the logarithms (..., n, n) of stretch and rotation: the first symmetric, the second skew.

    Every g has one, though it may have no real logarithm itself. n is 2 or 3.

    Raises:
        ValueError: see `polar_decompose`, or another n.
    """
    log_stretch, rotation = _parts(g)
    return log_stretch + rotation_log(rotation)


def polar_exp(x: Tensor) -> Tensor:
    """The map (..., n, n) of which `polar_log` gives x: exponentials of its symmetric and its skew part, multiplied."""
    symmetric, skew = (x + x.mT) / 2, (x - x.mT) / 2
    return _symmetric_exp(symmetric) @ torch.linalg.matrix_exp(skew)


def rotation_log(rotation: Tensor) -> Tensor:
    """Skew logarithms (..., n, n) of rotations, by angles in (-pi, pi] (n = 2) or [0, pi) (n = 3).

    Raises:
        ValueError: n is neither.
    """
    skew = (rotation - rotation.mT) / 2
    if rotation.shape[-1] == 2:
        angle = torch.atan2(rotation[..., 1, 0], rotation[..., 0, 0])
        one = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=rotation.dtype, device=rotation.device)
        return angle[..., None, None] * one
    if rotation.shape[-1] != 3:
        raise ValueError(f"rotation: expected 2 x 2 or 3 x 3, found {tuple(rotation.shape)}")
    sine = (skew.square().sum(dim=(-2, -1)) / 2).sqrt()
    cosine = (rotation.diagonal(dim1=-2, dim2=-1).sum(dim=-1) - 1) / 2
    factor = torch.where(sine > 1e-9, torch.atan2(sine, cosine) / sine.clamp(min=1e-9), torch.ones_like(sine))
    return factor[..., None, None] * skew


def stretch_density(log_square: Tensor) -> Tensor:
    """Density (...) of the invariant measure of stretches of the plane by y = log(g g^T) (..., 2, 2), symmetric.

    Integrals over maps, by this of their stretches and evenly of their rotations, do not change when all maps are
    multiplied by one from the left.
    """
    values = torch.linalg.eigvalsh(log_square)
    half = (values[..., 1] - values[..., 0]) / 2
    return torch.where(half > 1e-6, half.sinh() / half.clamp(min=1e-6), torch.ones_like(half))


def _parts(g: Tensor) -> tuple[Tensor, Tensor]:
    if g.ndim < 2 or g.shape[-1] != g.shape[-2]:
        raise ValueError(f"g: expected (..., n, n), found {tuple(g.shape)}")
    if not (torch.linalg.det(g) > 0).all():
        raise ValueError("g: expected positive determinants, found others")
    # The singular values are those of the stretch; squares of small ones, as in g g^T, would lose half of the digits.
    left, values, right = torch.linalg.svd(g)
    return (left * values.log()[..., None, :]) @ left.mT, left @ right


def _symmetric_exp(x: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(x)
    return (vectors * values.exp()[..., None, :]) @ vectors.mT
