"""How good vectors are for few labels, and without any: a probe on a few samples of each class, and the smooth rank.

`python -m representation.pretraining.madeleine.few_shot --encoder RUN --data DIR` probes any encoder of frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tyro
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from representation.data.frames import LABEL, open_frames
from representation.embedding import embed
from representation.probe import raw_pixels
from representation.registry import load_encoder

SHOTS, FOLDS = (1, 10, 25), 10
LEAST_SHARE = 1e-7


class FewShotScores(NamedTuple):
    """How well classes are told, by fold.

    Attributes:
        auc: (folds,) area under the ROC curve, each class against the rest, mean over the classes.
        balanced_accuracy: (folds,) mean over the classes of the share that is told.
    """

    auc: NDArray[np.float64]
    balanced_accuracy: NDArray[np.float64]


def smooth_rank(z: ArrayLike) -> float:
    """How many directions vectors (N, D) fill: exp of the entropy of their singular values, from 1 to min(N, D).

    It chooses among stages of a training without labels: the largest is the best (Garrido et al., RankMe, ICML 2023).

    Raises:
        ValueError: not (N, D), not finite, or all zero.
    """
    vectors = np.asarray(z, np.float64)
    if vectors.ndim != 2 or not vectors.size or not np.isfinite(vectors).all() or not vectors.any():
        raise ValueError(f"z: expected finite (N, D), not all zero, found {vectors.shape}")
    values = np.linalg.svd(vectors, compute_uv=False)
    share = values / values.sum() + LEAST_SHARE
    return float(np.exp(-(share * np.log(share)).sum()))


def few_shot_probe(z: ArrayLike, y: ArrayLike, k: int, folds: int = FOLDS) -> FewShotScores:
    """Logistic regression (C = 1, nothing standardised) on k random samples of each class, scored on all others.

    Args:
        z: vectors (N, D).
        y: classes (N,).
        k: samples of each class.
        folds: draws of the samples, each seeded with its number.

    Raises:
        ValueError: shapes that do not fit, vectors that are not finite, fewer than two classes, or a class without
            more than k samples.
    """
    vectors, labels = np.asarray(z, np.float64), np.asarray(y)
    if vectors.ndim != 2 or labels.shape != (len(vectors),) or not np.isfinite(vectors).all():
        raise ValueError(f"z, y: expected finite (N, D) and (N,), found {vectors.shape} and {labels.shape}")
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2 or counts.min() <= k or k < 1 or folds < 1:
        raise ValueError(
            f"y, k, folds: expected two classes or more of more than {k} samples, at least 1 of each and of the folds, "
            f"found {dict(zip(classes.tolist(), counts.tolist(), strict=True))} and {folds} folds"
        )
    found = []
    for fold in range(folds):
        rng = np.random.default_rng(fold)
        chosen = np.concatenate([rng.choice(np.flatnonzero(labels == one), k, replace=False) for one in classes])
        rest = np.setdiff1d(np.arange(len(labels)), chosen)
        model = LogisticRegression(C=1.0, max_iter=10_000).fit(vectors[chosen], labels[chosen])
        chances = model.predict_proba(vectors[rest])
        told = chances[:, 1] if len(classes) == 2 else chances
        auc = roc_auc_score(labels[rest], told, multi_class="ovr", average="macro", labels=classes)
        found.append((auc, balanced_accuracy_score(labels[rest], model.predict(vectors[rest]))))
    return FewShotScores(*np.array(found).T)


@dataclass(frozen=True)
class FewShotOptions:
    """What is probed.

    Attributes:
        encoder: directory of an encoder of any system or of a pretraining run.
        data: directory of the frames.
        column: of numbered values that are told.
        shots: frames of each value that are labelled.
        folds: draws of these frames.
        image_size: side that pictures are brought to first, pixels; 0 keeps them.
    """

    encoder: Path
    data: Path
    column: str = LABEL
    shots: tuple[int, ...] = SHOTS
    folds: int = FOLDS
    image_size: int = 0


def main(args: Sequence[str] | None = None) -> None:
    """Print a table."""
    options = tyro.cli(FewShotOptions, args=args, description=__doc__)
    frames = open_frames(options.data, size=options.image_size)
    frames.need((options.column,))
    labels = frames.columns[options.column]
    kinds = {"encoder": embed(load_encoder(options.encoder), frames), "raw pixels": raw_pixels(frames)}
    print(f"{options.column:<14}{'labelled':>9}{'AUC':>8}{'balanced accuracy':>19}")
    for shots in options.shots:
        for name, vectors in kinds.items():
            auc, accuracy = (values.mean() for values in few_shot_probe(vectors, labels, shots, options.folds))
            print(f"{name:<14}{shots:>9}{auc:>8.3f}{accuracy:>19.3f}")


if __name__ == "__main__":
    main()
