"""`scan`: which step, block and pooling tell most of a task, by cross-validation on a few labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from representation.generative.diffusion_classification.features import Denoiser, extract, pooled

STRENGTH = 0.1  # of the logistic regression, see scikit-learn's C


@dataclass(frozen=True)
class ScanRow:
    """What some features tell.

    Attributes:
        t: step whose noise is added.
        block: that is read.
        pool: parts of each side that are averaged over.
        accuracy: on samples that are left out in turn; R squared where numbers are told.
    """

    t: int
    block: int
    pool: int
    accuracy: float


def scan(
    unet: Denoiser,
    x: Tensor,
    y: NDArray,
    ts: Sequence[int],
    blocks: Sequence[int],
    pools: Sequence[int],
    folds: int = 3,
    noise: Tensor | torch.Generator | None = None,
    n_noise: int = 1,
    seed: int = 0,
) -> list[ScanRow]:
    """Every step with every block and pooling, best first; among equals the earlier block and the coarser pooling.

    Args:
        unet: see `extract`.
        x: pictures (N, C, R, R) in [-1, 1].
        y: classes (N,), or numbers (N,) or (N, k) as floats.
        ts: steps.
        blocks: their numbers.
        pools: parts of each side.
        folds: of the cross-validation.
        noise: see `extract`.
        n_noise: see `extract`.
        seed: of the folds.

    Raises:
        ValueError: one class only, fewer samples of a class than folds, other numbers of labels, poolings below 1; and
            as of `extract`.
    """
    if len(y) != len(x) or not len(ts) or not pools or min(pools) < 1:
        raise ValueError(
            f"y, ts, pools: expected {len(x)} labels, steps, and at least 1, found {len(y)}, {ts}, {pools}"
        )
    check_labels(y, folds)
    rows = []
    for t in ts:
        for block, features in all_features(unet, x, t, blocks, noise, n_noise).items():
            for pool in pools:
                rows.append(ScanRow(t, block, pool, told(pooled(features, pool).numpy(), y, folds, seed)))
    return sorted(rows, key=lambda row: (-row.accuracy, row.block, row.pool, row.t))


def check_labels(y: NDArray, folds: int) -> None:
    """Raises: ValueError where labels cannot be cross-validated."""
    if np.issubdtype(y.dtype, np.floating):
        if not np.isfinite(y).all() or len(y) < folds or np.ptp(y, axis=0).max() == 0:
            raise ValueError(f"y: expected at least {folds} finite numbers that differ, found others")
        return
    classes, counts = np.unique(y, return_counts=True)
    if len(classes) < 2 or counts.min() < folds:
        found = dict(zip(classes.tolist(), counts.tolist(), strict=True))
        raise ValueError(f"y: expected at least two classes with {folds} labels each, found {found}")


@torch.no_grad()
def all_features(
    unet: Denoiser,
    x: Tensor,
    t: int,
    blocks: Sequence[int],
    noise: Tensor | torch.Generator | None = None,
    n_noise: int = 1,
    batch: int = 64,
) -> dict[int, Tensor]:
    """Features (N, C, h, w) of many pictures; arguments as of `extract`."""
    parts = [extract(unet, part, t, blocks, noise, n_noise) for part in x.split(batch)]
    return {block: torch.cat([part[block] for part in parts]) for block in parts[0]}


def reader(y: NDArray) -> Pipeline:
    """A linear reader of standardised vectors, of classes or of numbers."""
    numbers = np.issubdtype(y.dtype, np.floating)
    return make_pipeline(
        StandardScaler(), Ridge(1 / STRENGTH) if numbers else LogisticRegression(C=STRENGTH, max_iter=1000)
    )


def told(vectors: NDArray, y: NDArray, folds: int, seed: int) -> float:
    """Mean score of a linear reader of vectors (N, D) on folds that it has not seen."""
    kind = KFold if np.issubdtype(y.dtype, np.floating) else StratifiedKFold
    return float(np.mean(cross_val_score(reader(y), vectors, y, cv=kind(folds, shuffle=True, random_state=seed))))
