"""Contrast of predicted and true tokens: BiMixCo on mixed signals, then SoftCLIP with the targets' own likeness."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Mixed(NamedTuple):
    """Signals that were mixed in part.

    Attributes:
        x: (B, v); the given ones are left as they are.
        perm: (B,) with which other one.
        betas: (B,) share of the own one; 1 where nothing was mixed.
    """

    x: Tensor
    perm: Tensor
    betas: Tensor


def mixco(x: Tensor, beta: float = 0.15, p: float = 0.5, generator: torch.Generator | None = None) -> Mixed:
    """Mix each signal (B, v), with probability p, with another: b x_i + (1 - b) x_perm(i), b of Beta(beta, beta).

    Args:
        x: signals.
        beta: of the distribution.
        p: share that is mixed.
        generator: on the CPU; draws all that is random, None for one of seed 0.
    """
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    perm = torch.randperm(len(x), generator=generator)
    betas = torch.from_numpy(rng.beta(beta, beta, len(x))).to(x.dtype)
    betas = torch.where(torch.rand(len(x), generator=generator) < p, betas, torch.ones_like(betas)).to(x.device)
    perm = perm.to(x.device)
    share = betas.reshape(-1, *[1] * (x.ndim - 1))
    return Mixed(share * x + (1 - share) * x[perm], perm, betas)


def mixco_labels(perm: Tensor, betas: Tensor) -> Tensor:
    """Soft labels (B, B): betas on the diagonal, the rest at `perm`; rows sum to 1 wherever `perm` points."""
    rows = torch.arange(len(perm), device=perm.device)
    return torch.diag(betas).index_put((rows, perm), 1 - betas, accumulate=True)


def mixco_nce(pred: Tensor, target: Tensor, temp: float, perm: Tensor, betas: Tensor) -> Tensor:
    """Cross-entropy of predictions of mixed signals over a batch, of rows and of columns averaged (BiMixCo).

    Args:
        pred: (B, F), of length 1.
        target: (B, F), of length 1.
        temp: temperature.
        perm: see `Mixed`.
        betas: see `Mixed`.
    """
    logits, labels = pred @ target.T / temp, mixco_labels(perm, betas)
    rows = -(labels * logits.log_softmax(dim=1)).sum(dim=1).mean()
    columns = -(labels.T * logits.T.log_softmax(dim=1)).sum(dim=1).mean()
    return (rows + columns) / 2


def soft_clip_loss(pred: Tensor, target: Tensor, temp: float) -> Tensor:
    """Cross-entropy over a batch with the likeness of the targets among themselves as labels, both ways.

    Args:
        pred: (B, F), of length 1.
        target: (B, F), of length 1.
        temp: temperature of both.
    """
    alike, logits = target @ target.T / temp, pred @ target.T / temp
    rows = -(alike.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1).mean()
    columns = -(alike.T.softmax(dim=1) * logits.T.log_softmax(dim=1)).sum(dim=1).mean()
    return (rows + columns) / 2


def cosine_between(start: float, end: float, done: float) -> float:
    """From `start` to `end` along half a cosine, at a share `done` of the way."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2
