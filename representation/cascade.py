"""How short a vector suffices: `python -m representation.cascade --encoder RUN --data DIR --column label`.

RUN holds a nested encoder of `matryoshka`. A classifier on each prefix of its vectors is fitted on some episodes, and
how sure a prefix must be to be believed on some others; the rest are classified by the first prefix that is sure
enough. The encoder itself always runs as a whole: what is saved is the work behind it, such as a search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from representation.data.batches import split_frames
from representation.data.frames import LABEL, Frames, open_frames
from representation.embedding import embed
from representation.pretraining.matryoshka import CascadeClassifier, MatryoshkaEncoder, truncate
from representation.registry import load_encoder


@dataclass(frozen=True)
class CascadeOptions:
    """What is classified.

    Attributes:
        encoder: directory of an encoder of `matryoshka`, or of its pretraining run.
        data: directory of the frames.
        column: numbered, that is told from the vectors.
        camera: of a LeRobot dataset or a bag; the first one if left out.
        image_size: side that pictures are brought to first, pixels; 0 keeps them.
        held_out: share of the episodes that thresholds are chosen by, and again that is scored.
        ties: which of equally good thresholds is taken; "largest" is dearer and safer.
        seed: chooses the episodes.
    """

    encoder: Path
    data: Path
    column: str = LABEL
    camera: str = ""
    image_size: int = 0
    held_out: float = 0.25
    ties: Literal["smallest", "largest"] = "smallest"
    seed: int = 0


def prefix_logits(encoder: MatryoshkaEncoder, frames: Frames, column: str, fitted: np.ndarray) -> list[Tensor]:
    """Log-probabilities (N, C) of all frames by a classifier on each prefix, fitted on some rows."""
    vectors, values = torch.from_numpy(embed(encoder, frames)), frames.columns[column]
    found = []
    for length in encoder.nesting:
        prefix = truncate(vectors, length).numpy()
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(prefix[fitted], values[fitted])
        found.append(torch.from_numpy(model.predict_log_proba(prefix)).float())
    return found


def main(args: Sequence[str] | None = None) -> None:
    """Print a table.

    Raises:
        ValueError: another encoder, frames without the column, or episodes without some of its values.
    """
    options = tyro.cli(CascadeOptions, args=args, description=__doc__)
    encoder = load_encoder(options.encoder)
    if not isinstance(encoder, MatryoshkaEncoder):
        raise ValueError(f"{options.encoder}: expected an encoder of matryoshka, found {type(encoder).__name__}")
    frames = open_frames(options.data, options.camera, options.image_size)
    frames.need((options.column,))
    rng, count = np.random.default_rng(options.seed), len(np.unique(frames.episode))
    part = max(1, round(options.held_out * count))
    fitted, held_out = split_frames(frames, 2 * part, rng)
    chosen, scored = (held_out[rows] for rows in split_frames(frames.subset(held_out), part, rng))
    known = np.unique(frames.columns[options.column][fitted])
    if not np.isin(frames.columns[options.column], known).all():
        raise ValueError(f"{options.column}: expected all values among the fitted episodes; hold out fewer")
    labels = torch.from_numpy(np.searchsorted(known, frames.columns[options.column]))
    logits = prefix_logits(encoder, frames, options.column, fitted)
    cascade = CascadeClassifier(encoder.nesting, options.ties).fit([one[chosen] for one in logits], labels[chosen])
    classes, levels = cascade.predict([one[scored] for one in logits])
    truth = labels[scored].numpy()
    print(f"{'numbers':>8}{'accuracy':>10}{'believed':>10}")
    for level, (length, one) in enumerate(zip(encoder.nesting, logits, strict=True)):
        right = (one[scored].argmax(dim=1).numpy() == truth).mean()
        print(f"{length:>8}{right:>10.3f}{(levels == level).mean():>10.3f}")
    print(f"cascade: accuracy {(classes == truth).mean():.3f} with {cascade.expected_dim:.1f} numbers on average")


if __name__ == "__main__":
    main()
