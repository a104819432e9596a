"""`richness_report`: what members, their concatenation and other encoders tell of the source and of a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from representation.transfer.rich_representations.cat_encoder import CatEncoder, Normalize, all_vectors
from representation.transfer.rich_representations.linear_probe import LinearProbe
from representation.transfer.rich_representations.members import Member
from representation.transfer.rich_representations.samples import Samples, split_by_class

if TYPE_CHECKING:
    import pandas as pd

Score = Callable[[tuple[Tensor, Tensor], tuple[Tensor, Tensor]], float]
"""Accuracy of a probe fitted on vectors and labels, on others."""


def few_shots(labels: Tensor, shots: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows of `shots` samples of each class, and of all others.

    Raises:
        ValueError: a class has no more samples than that.
    """
    chosen = []
    for label in labels.unique():
        rows = torch.nonzero(labels == label)[:, 0]
        if len(rows) <= shots:
            raise ValueError(f"shots: expected fewer than the {len(rows)} samples of class {label}, found {shots}")
        chosen.append(rows[torch.randperm(len(rows), generator=generator)[:shots]])
    kept = torch.cat(chosen)
    others = torch.ones(len(labels), dtype=torch.bool)
    others[kept] = False
    return kept, torch.nonzero(others)[:, 0]


def probe_score(fitted: tuple[Tensor, Tensor], scored: tuple[Tensor, Tensor]) -> float:
    """Accuracy of a `LinearProbe` whose weight decay is chosen on folds of what it is fitted on."""
    return LinearProbe(int(fitted[1].max()) + 1).fit(*fitted).score(*scored)


def cosine_score(fitted: tuple[Tensor, Tensor], scored: tuple[Tensor, Tensor]) -> float:
    """The same of a head of cosines without normalisation."""
    return LinearProbe(int(fitted[1].max()) + 1, batch_norm=False, cosine=10.0).fit(*fitted).score(*scored)


def richness_report(
    members: Sequence[Member],
    source: tuple[Samples, Samples],
    target: Samples,
    shots: int,
    others: Mapping[str, nn.Module] | None = None,
    draws: int = 5,
    score: Score = probe_score,
    seed: int = 0,
    normalize: Normalize = None,
) -> pd.DataFrame:
    """Accuracies of probes on the vectors of single members, of all together, and of other encoders.

    Args:
        members: that are concatenated.
        source: samples of the task of the training, to fit and to score.
        target: samples of another task.
        shots: of each target class that the probe learns from; the others are scored.
        others: further encoders by name: a distilled one, controls of equal size.
        draws: of the shots.
        score: fits and scores a probe.
        seed: of the draws.
        normalize: of the concatenation, see `CatEncoder`.

    Returns:
        Rows "single (mean)", "single (best)" (of the target), "cat" and the others; columns `width`, `source`,
        `target` (mean over draws), `spread` (its standard deviation over draws) and `gain` (of the target over the
        mean of single members).
    """
    # Imported late: a robot that runs a concatenation needs no tables.
    import pandas as pd

    generator = torch.Generator().manual_seed(seed)
    splits = [few_shots(target.labels, shots, generator) for _ in range(draws)]

    def measured(encoder: nn.Module) -> tuple[float, np.ndarray]:
        fitted, scored = ((all_vectors(encoder, part.inputs), part.labels) for part in source)
        vectors, labels = all_vectors(encoder, target.inputs), target.labels
        told = [score((vectors[a], labels[a]), (vectors[b], labels[b])) for a, b in splits]
        return score(fitted, scored), np.array(told)

    singles = [measured(member.encoder) for member in members]
    best = int(np.argmax([told.mean() for _, told in singles]))
    rows = {
        "single (mean)": (
            float(np.mean([member.encoder.width for member in members])),
            float(np.mean([own for own, _ in singles])),
            np.mean([told for _, told in singles], axis=0),
        ),
        "single (best)": (members[best].encoder.width, *singles[best]),
    }
    for name, encoder in {
        "cat": CatEncoder([member.encoder for member in members], normalize),
        **(others or {}),
    }.items():
        rows[name] = (encoder.width, *measured(encoder))
    reached = {name: float(told.mean()) for name, (_, _, told) in rows.items()}
    return pd.DataFrame(
        {
            "width": {name: width for name, (width, _, _) in rows.items()},
            "source": {name: own for name, (_, own, _) in rows.items()},
            "target": reached,
            "spread": {name: float(told.std()) for name, (_, _, told) in rows.items()},
            "gain": {name: value - reached["single (mean)"] for name, value in reached.items()},
        }
    ).loc[list(rows)]


def source_split(samples: Samples, held_out: float, seed: int) -> tuple[Samples, Samples]:
    """Samples to fit and to score on, a share of each class held out."""
    kept, held = split_by_class(samples.labels, held_out, torch.Generator().manual_seed(seed))
    return samples.subset(kept), samples.subset(held)
