"""A zoo of small heads on features of a frozen encoder: k-way tasks over classes, with the order of the classes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from representation.transfer.d2nwg.generator import ZooEntry


def trained_head(features: Tensor, labels: Tensor, strength: float = 1.0) -> dict[str, Tensor]:
    """Weight (C, d) and bias (C,) of a logistic regression with squared penalty; there is one solution only.

    Args:
        features: (N, d).
        labels: (N,) classes 0 to C - 1, all of them.
        strength: C of scikit-learn: more is less penalty.

    Raises:
        ValueError: one class only, or numbers that are not finite.
    """
    if not torch.isfinite(features).all() or len(labels.unique()) < 2:
        raise ValueError(f"features: expected finite ones of at least 2 classes, found {labels.unique().tolist()}")
    model = LogisticRegression(C=strength, max_iter=2000).fit(features.numpy(), labels.numpy())
    weight, bias = model.coef_, model.intercept_
    if len(weight) == 1:  # two classes
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return {"weight": torch.from_numpy(weight).float(), "bias": torch.from_numpy(bias).float()}


def task_rows(labels: Tensor, classes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Rows of the samples of a task's classes, and their numbers in the task."""
    parts = [torch.nonzero(labels == one)[:, 0] for one in classes]
    numbers = [torch.full((len(part),), place) for place, part in enumerate(parts)]
    return torch.cat(parts), torch.cat(numbers)


def draw_support(
    features: Tensor, labels: Tensor, classes: Sequence[int], samples: int, rng: np.random.Generator
) -> Tensor:
    """Features (C, samples, d) of random samples of some classes.

    Raises:
        ValueError: a class has fewer.
    """
    found = []
    for one in classes:
        rows = np.flatnonzero(labels.numpy() == one)
        if len(rows) < samples:
            raise ValueError(f"support: expected at least {samples} samples of class {one}, found {len(rows)}")
        found.append(features[rng.choice(rows, samples, replace=False)])
    return torch.stack(found)


def draw_tasks(
    classes: Sequence[int], ways: int, count: int, held_out: int, rng: np.random.Generator
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """Tasks for a zoo, and tasks of combinations of classes that it has not, each with its classes in a random order.

    Args:
        classes: to combine.
        ways: k of a task.
        count: tasks of the zoo.
        held_out: combinations that it must not have; there is one task of each.
        rng: draws.

    Raises:
        ValueError: no combination is left for the zoo.
    """
    combinations = rng.permutation(list(itertools.combinations(classes, ways)))
    if ways < 2 or len(combinations) <= held_out:
        raise ValueError(f"ways: expected more than {held_out} combinations of 2 or more, found {len(combinations)}")
    kept = combinations[held_out:]
    drawn = kept[np.arange(count) % len(kept)]
    return [rng.permutation(one) for one in drawn], [rng.permutation(one) for one in combinations[:held_out]]


def build_zoo(
    features: Tensor,
    labels: Tensor,
    tasks: Sequence[Sequence[int]],
    cached: int,
    strength: float,
    rng: np.random.Generator,
) -> list[ZooEntry]:
    """Train a head for each task on all samples of its classes.

    Args:
        features: (N, d).
        labels: (N,) classes.
        tasks: classes of each, in the order of the head's rows.
        cached: support samples of a class that are kept.
        strength: see `trained_head`.
        rng: draws them.
    """
    zoo = []
    for classes in tasks:
        rows, numbers = task_rows(labels, classes)
        head = trained_head(features[rows], numbers, strength)
        zoo.append(ZooEntry(head, draw_support(features, labels, classes, cached, rng)))
    return zoo
