"""What linear models read from activations, held out, and how fast a new task is learned on them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F  # noqa: N812

from representation.analysis.feature_bias.variance import Factors, checked_activations, named_factors

RIDGES = tuple(10.0**power for power in range(-1, 6))


class Decoded(NamedTuple):
    """How well a factor is read.

    Attributes:
        score: accuracy for classes, R squared for numbers, mean over held-out parts.
        chance: accuracy of the most frequent class; 0 for numbers.
    """

    score: float
    chance: float

    @property
    def above_chance(self) -> float:
        """0 at chance, 1 where everything is told."""
        return (self.score - self.chance) / (1 - self.chance)


def decodability(
    activations: ArrayLike, factors: Factors, cv: int = 5, groups: ArrayLike | None = None
) -> dict[str, Decoded]:
    """Logistic regression for classes and ridge regression for numbers, on standardised activations.

    The strength of the ridge is chosen by leaving out one row of those that are fitted on.

    Args:
        activations: (N, m).
        factors: see `Factors`.
        cv: parts, each held out once.
        groups: (N,) such as episodes, which are held out as a whole.

    Raises:
        ValueError: fewer rows of a class, fewer rows or fewer groups than `cv`.
    """
    h = checked_activations(activations)
    return {name: _decoded(name, h, values, cv, groups) for name, values in named_factors(factors, len(h)).items()}


def _decoded(name: str, h: NDArray, values: NDArray, cv: int, groups: ArrayLike | None) -> Decoded:
    classes = values.ndim == 1
    rarest = int(np.bincount(values).min()) if classes else len(values)
    own = None if groups is None else np.asarray(groups)
    if own is not None and own.shape != (len(h),):
        raise ValueError(f"groups: expected ({len(h)},), found {own.shape}")
    found = rarest if own is None else len(np.unique(own))
    if not 2 <= cv <= found:
        what = "rows of its rarest class" if own is None else "groups"
        raise ValueError(f"factor {name}: cv: expected 2 to {found}, the {what}, found {cv}")
    if own is not None:
        folds = GroupKFold(cv).split(h, groups=own)
    else:
        kind = StratifiedKFold if classes else KFold
        folds = kind(cv, shuffle=True, random_state=0).split(h, values if classes else None)
    scores = []
    for train, test in folds:
        if classes and len(np.unique(values[train])) < 2:
            raise ValueError(f"factor {name}: expected classes that are not told by groups, found one class to fit")
        head = LogisticRegression(max_iter=1000) if classes else RidgeCV(RIDGES)
        model = make_pipeline(StandardScaler(), head).fit(h[train], values[train])
        if classes:
            scores.append(float(model.score(h[test], values[test])))
            continue
        error = np.square(model.predict(h[test]).reshape(len(test), -1) - values[test]).sum()
        scores.append(float(1 - error / max(np.square(values[test] - values[train].mean(axis=0)).sum(), 1e-12)))
    chance = float(np.bincount(values).max() / len(values)) if classes else 0.0
    return Decoded(float(np.mean(scores)), chance)


def epochs_to_learn(
    activations: ArrayLike,
    labels: ArrayLike,
    target: float = 0.95,
    max_epochs: int = 200,
    lr: float = 1e-2,
    batch: int = 128,
    seed: int = 0,
) -> int | None:
    """Epochs of plain SGD until a linear layer on frozen activations tells a new task; None if it never does.

    What is built on a feature of much variance is learned sooner than on one of little. Activations are divided by one
    number, the root of their mean variance, so that shares are kept.

    Args:
        activations: (N, m).
        labels: (N,) 0 or 1.
        target: accuracy, on the same rows.
        max_epochs: after which it gives up.
        lr: learning rate.
        batch: rows a step.
        seed: of the order of rows.
    """
    h, y = checked_activations(activations), np.asarray(labels)
    if y.shape != (len(h),) or not np.isin(y, (0, 1)).all():
        raise ValueError(f"labels: expected ({len(h)},) of 0 and 1, found {y.shape}")
    h = h - h.mean(axis=0)
    x = torch.from_numpy(h / max(np.sqrt(np.square(h).mean()), 1e-12)).float()
    wanted = torch.from_numpy(y.astype(np.float32))
    weight, bias = nn.Parameter(torch.zeros(x.shape[1])), nn.Parameter(torch.zeros(()))
    optimizer, generator = torch.optim.SGD((weight, bias), lr), torch.Generator().manual_seed(seed)
    for epoch in range(1, max_epochs + 1):
        for rows in torch.randperm(len(x), generator=generator).split(batch):
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(x[rows] @ weight + bias, wanted[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            if float((((x @ weight + bias) > 0) == (wanted > 0.5)).float().mean()) >= target:
                return epoch
    return None
