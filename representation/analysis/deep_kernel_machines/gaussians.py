"""Divergences of Gaussians with mean 0, and what a layer's Gram matrix says of other points."""

from __future__ import annotations

import torch
from torch import Tensor

from representation.analysis.deep_kernel_machines.kernels import GramTriple


def cholesky(matrix: Tensor, name: str) -> Tensor:
    """Lower triangular factor of (P, P).

    Raises:
        ValueError: not symmetric, or not positive definite; names it.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name}: expected a square matrix, found {tuple(matrix.shape)}")
    if not torch.allclose(matrix, matrix.mT, rtol=1e-6, atol=1e-8):
        raise ValueError(f"{name}: expected a symmetric matrix, found one that is not, or not finite")
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if int(failed):
        raise ValueError(f"{name}: expected a positive definite matrix, found none; more jitter may help")
    return factor


def symmetric(matrix: Tensor) -> Tensor:
    """Without what rounding made of its symmetry."""
    return (matrix + matrix.mT) / 2


def gaussian_kl(a: Tensor, b: Tensor) -> Tensor:
    """KL(N(0, A) || N(0, B)) = (tr(B^-1 A) - P - log|B^-1 A|) / 2, of covariances (P, P).

    Raises:
        ValueError: of other shapes than each other, or not positive definite.
    """
    if a.shape != b.shape:
        raise ValueError(f"a, b: expected covariances of one shape, found {tuple(a.shape)} and {tuple(b.shape)}")
    return factor_kl(cholesky(a, "a"), cholesky(b, "b"))


def factor_kl(a: Tensor, b: Tensor) -> Tensor:
    """`gaussian_kl` of their lower triangular factors."""
    whitened = torch.linalg.solve_triangular(b, a, upper=False)
    logs = b.diagonal().log().sum() - a.diagonal().log().sum()
    return (whitened.square().sum() - len(a)) / 2 + logs


def taylor_divergence(a: Tensor, b: Tensor) -> Tensor:
    """What `gaussian_kl` tends to where A is near B: |L^-1 B L^-T - I|² / 4, with A = L L^T."""
    return factor_taylor(cholesky(a, "a"), cholesky(b, "b"))


def factor_taylor(a: Tensor, b: Tensor) -> Tensor:
    """`taylor_divergence` of their lower triangular factors."""
    whitened = torch.linalg.solve_triangular(a, b, upper=False)
    eye = torch.eye(len(a), dtype=a.dtype, device=a.device)
    return (whitened @ whitened.mT - eye).square().sum() / 4


def factor_of(parameter: Tensor) -> Tensor:
    """Lower triangular factor of free numbers (P, P): those below the diagonal, and exponentials of the diagonal."""
    return parameter.tril(-1) + parameter.diagonal().exp().diag()


def parameter_of(factor: Tensor) -> Tensor:
    """The numbers (P, P) of which `factor_of` makes a factor."""
    return factor.tril(-1) + factor.diagonal().log().diag()


def conditioned(prior: GramTriple, factor: Tensor, prior_factor: Tensor) -> GramTriple:
    """Gram matrices of all points, where those of the inducing ones are known and the others follow the prior.

    Args:
        prior: K of the layer below.
        factor: lower triangular, of G_ii.
        prior_factor: lower triangular, of K_ii.

    Returns:
        G_ii, G_ti = K_ti K_ii^-1 G_ii, and the diagonal of K_tt - K_ti K_ii^-1 K_it + K_ti K_ii^-1 G_ii K_ii^-1 K_it.
    """
    across = torch.linalg.solve_triangular(prior_factor, prior.ti.mT, upper=False)
    inside = torch.linalg.solve_triangular(prior_factor, factor, upper=False)
    seen = across.mT @ inside
    own = (prior.t - across.square().sum(dim=0)).clamp(min=0.0) + seen.square().sum(dim=1)
    return GramTriple(factor @ factor.mT, seen @ factor.mT, own)
