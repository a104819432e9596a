"""Measures of classification and segmentation, as BenchX counts them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.metrics import (
    accuracy_score,
    precision_recall_curve,
    precision_recall_fscore_support,
    roc_auc_score,
)


def class_aurocs(scores: NDArray, labels: NDArray) -> NDArray[np.float64]:
    """Area under the ROC curve of each label, (C,); NaN where a label has one value only.

    Args:
        scores: (N, C).
        labels: (N, C) of 0 and 1.
    """
    _check(scores, labels, labels.shape)
    return np.array(
        [
            roc_auc_score(truth, score) if 0 < truth.sum() < len(truth) else np.nan
            for truth, score in zip(labels.T, scores.T, strict=True)
        ]
    )


def best_threshold(scores: NDArray, labels: NDArray) -> float:
    """The one threshold for all labels with the largest F1 on the precision-recall curve of all entries together."""
    precision, recall, thresholds = precision_recall_curve(labels.ravel(), scores.ravel())
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    return float(thresholds[f1[:-1].argmax()])


def multilabel_metrics(logits: NDArray, labels: NDArray) -> dict[str, float]:
    """Macro AUROC, and precision, recall and F1, micro and macro, at one global threshold of the probabilities.

    Args:
        logits: (N, C).
        labels: (N, C) of 0 and 1.

    Raises:
        ValueError: no label has both values; or shapes do not agree, or a logit is not finite.
    """
    probabilities = expit(np.asarray(logits, dtype=np.float64))
    aurocs = class_aurocs(probabilities, labels)
    if np.isnan(aurocs).all():
        raise ValueError("labels: expected one with both values, found one class only in each")
    threshold = best_threshold(probabilities, labels)
    found = {"auroc": float(np.nanmean(aurocs)), "threshold": threshold}
    for average in ("micro", "macro"):
        precision, recall, f1, _ = precision_recall_fscore_support(
            labels, probabilities >= threshold, average=average, zero_division=0
        )
        found |= {f"{average}_precision": float(precision), f"{average}_recall": float(recall)}
        found[f"{average}_f1"] = float(f1)
    return found


def multiclass_metrics(logits: NDArray, labels: NDArray) -> dict[str, float]:
    """Accuracy, precision, recall and F1 by the largest logit, and AUROC by softmax, one class against the rest.

    Two classes have two logits; precision, recall and F1 are then of class 1, else means over the classes. F1 of the
    larger of two logits is not that of one logit at a threshold.

    Args:
        logits: (N, C), two or more.
        labels: (N,) from 0.

    Raises:
        ValueError: one class only; or shapes do not agree, or a logit is not finite.
    """
    _check(logits, labels, (len(labels), logits.shape[1]))
    classes = logits.shape[1]
    if len(np.unique(labels)) < 2:
        raise ValueError(f"labels: expected at least two classes, found only {np.unique(labels).tolist()}")
    told = logits.argmax(axis=1)
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, told, average="binary" if classes == 2 else "macro", zero_division=0
    )
    probabilities = softmax(np.asarray(logits, dtype=np.float64), axis=1)
    aurocs = class_aurocs(probabilities, np.eye(classes, dtype=int)[labels])
    return {
        "accuracy": float(accuracy_score(labels, told)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "auroc": float(np.nanmean(aurocs)),
    }


def multiclass_f1(logits: NDArray, labels: NDArray) -> float:
    """`f1` of `multiclass_metrics` alone, in a hundredth of the time; arguments and errors as there."""
    _check(logits, labels, (len(labels), logits.shape[1]))
    classes = logits.shape[1]
    if len(np.unique(labels)) < 2:
        raise ValueError(f"labels: expected at least two classes, found only {np.unique(labels).tolist()}")
    f = segmentation_metrics(confusion(logits.argmax(axis=1), labels, classes)).f
    return float(f[1] if classes == 2 else np.nanmean(f))


def _check(scores: NDArray, labels: NDArray, expected: tuple[int, ...]) -> None:
    if scores.shape != expected:
        raise ValueError(f"scores: expected {expected} for labels {labels.shape}, found {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("scores: expected finite numbers, found NaN or infinity")


@dataclass(frozen=True)
class SegmentationMetrics:
    """Measures of each of C classes, NaN for a class that neither is there nor is told.

    Attributes:
        dice: (C,) twice what is common over the sum of both.
        iou: (C,) what is common over what either has.
        f: (C,) harmonic mean of precision and recall, which is the same as `dice` where both are defined.
    """

    dice: NDArray[np.float64]
    iou: NDArray[np.float64]
    f: NDArray[np.float64]

    def means(self) -> dict[str, float]:
        """`mdice`, `miou` and `mf`, over the classes that are there."""
        return {f"m{name}": float(np.nanmean(getattr(self, name))) for name in ("dice", "iou", "f")}


def confusion(told: NDArray, truth: NDArray, classes: int) -> NDArray[np.int64]:
    """How many pixels (C, C) of each true class, by row, are told to be of each class."""
    return np.bincount(truth.ravel().astype(np.int64) * classes + told.ravel(), minlength=classes**2).reshape(
        classes, classes
    )


def segmentation_metrics(counts: NDArray) -> SegmentationMetrics:
    """Measures of a table of `confusion`, summed over all pictures."""
    common = np.diag(counts).astype(np.float64)
    true, told = counts.sum(axis=1), counts.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = common / told, common / true
        f = np.where(common > 0, 2 * precision * recall / (precision + recall), 0.0)
        f[(true == 0) & (told == 0)] = np.nan
        return SegmentationMetrics(2 * common / (true + told), common / (true + told - common), f)
