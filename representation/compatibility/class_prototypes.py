"""Class prototypes: what new encoders need to know of an old one when its pictures, or it itself, are gone."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

PROTOTYPES = "prototypes"


def class_prototypes(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Mean (C, d) of the vectors of each class, brought to unit length before, not after.

    Args:
        features: vectors (N, d) by the old encoder.
        labels: classes (N,), below `num_classes`.
        num_classes: C.

    Returns:
        0 for a class that has no vector; `known_classes` tells which do.
    """
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(f"labels: expected 0 to {num_classes - 1}, found {int(labels.min())} to {int(labels.max())}")
    sums = torch.zeros(num_classes, features.shape[1], dtype=features.dtype, device=features.device)
    sums.index_add_(0, labels, F.normalize(features, dim=1))
    counts = torch.bincount(labels, minlength=num_classes)
    return sums / counts.clamp(min=1)[:, None].to(sums)


def known_classes(prototypes: Tensor) -> Tensor:
    """Which of the classes (C,) have a prototype."""
    return prototypes.ne(0).any(dim=1)


def prototype_cross_entropy(vectors: Tensor, labels: Tensor, prototypes: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of the old space's classifier, whose rows are the prototypes; it has no temperature.

    Args:
        vectors: unit vectors (B, d).
        labels: classes (B,).
        prototypes: (C, d). Classes without one are no outputs, and their vectors do not count.
        smoothing: of the labels.
    """
    known = known_classes(prototypes)
    counted = known[labels]
    if not counted.any():
        return vectors.sum() * 0.0
    numbers = known.long().cumsum(dim=0) - 1
    logits = vectors[counted] @ prototypes[known].T
    return F.cross_entropy(logits, numbers[labels[counted]], label_smoothing=smoothing)


def write_prototypes(prototypes: Tensor, path: Path) -> None:
    """Keep prototypes (C, d) of an old encoder in a file of safetensors."""
    save_file({PROTOTYPES: prototypes.detach().cpu().float().contiguous()}, path)


def read_prototypes(path: Path) -> Tensor:
    """Prototypes (C, d) out of a file.

    Raises:
        ValueError: something else; names the file.
    """
    try:
        prototypes = load_file(path)[PROTOTYPES].float()
    except (OSError, KeyError, SafetensorError) as error:
        raise ValueError(f"{path}: expected a file of {PROTOTYPES!r}, found another: {error}") from error
    if prototypes.ndim != 2 or not prototypes.isfinite().all():
        raise ValueError(f"{path}: expected finite prototypes (C, d), found {tuple(prototypes.shape)}")
    return prototypes
