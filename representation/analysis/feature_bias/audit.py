"""What a representation spends its variance on, by factors that a simulator knows, and what it holds but faintly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from representation.analysis.feature_bias.decoding import decodability
from representation.analysis.feature_bias.variance import (
    Factors,
    named_factors,
    pca_alignment,
    unit_density,
    variance_explained,
)
from representation.data.frames import Frames
from representation.embedding import embed
from representation.interface import Encoder

READABLE, DROPPED = 0.5, 0.2  # of the way from chance to everything: what counts as read, and as not read at all


@dataclass(frozen=True)
class AuditRow:
    """What is known of one factor.

    Attributes:
        factor: its name.
        share: of the variance, that it explains alone.
        unique: of the variance, that it adds to all other factors.
        decodability: held-out accuracy of classes, R squared of numbers.
        chance: accuracy of the most frequent class; 0 of numbers.
        density: share of the units that correlate with it.
        component: number of the first principal component that shows it, from 1; None if none of the first does.
        correlations: of the first components with it, not negative.
    """

    factor: str
    share: float
    unique: float
    decodability: float
    chance: float
    density: float
    component: int | None
    correlations: tuple[float, ...] = ()

    @property
    def above_chance(self) -> float:
        """0 where reading is at chance, 1 where everything is told."""
        return (self.decodability - self.chance) / (1 - self.chance)

    def verdict(self, least_share: float) -> str:
        """`kept`; `faint` where it is read but has little variance; `partly` read; or `dropped`."""
        if self.above_chance < READABLE:
            return "partly" if self.above_chance >= DROPPED else "dropped"
        return "faint" if self.share < least_share else "kept"


@dataclass(frozen=True)
class AuditReport:
    """What a representation spends its variance on.

    Attributes:
        rows: a factor each, the largest share first.
        joint: share of the variance that all factors explain together.
        shared: what several of them explain; large where factors go together in the data.
        residual: what none explains.
        warnings: sentences on factors that can be read but take less variance than asked for.
    """

    rows: tuple[AuditRow, ...]
    joint: float
    shared: float
    residual: float
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """A table for people."""
        head = f"{'factor':<16}{'share':>8}{'unique':>8}{'decoded':>9}{'chance':>8}{'density':>9}{'component':>11}"
        rows = [
            f"{row.factor:<16}{row.share:>8.3f}{row.unique:>8.3f}{row.decodability:>9.3f}{row.chance:>8.3f}"
            f"{row.density:>9.3f}{row.component or '-':>11}"
            for row in self.rows
        ]
        return [head, *rows, f"together {self.joint:.3f}, shared {self.shared:.3f}, rest {self.residual:.3f}"]


def audit(
    activations: ArrayLike,
    factors: Factors,
    least_share: float = 0.05,
    readable: float = READABLE,
    components: int = 10,
    cv: int = 5,
    groups: ArrayLike | None = None,
) -> AuditReport:
    """Audit activations of anything: of an encoder, or of a layer of a policy.

    Args:
        activations: (N, m).
        factors: what the simulator knows of each row; see `variance.Factors`.
        least_share: of the variance; a factor that can be read and has less is warned of.
        readable: how far above chance (0 to 1) a factor counts as read.
        components: principal components that are looked at.
        cv: parts of the held-out reading.
        groups: (N,) that are held out as a whole.
    """
    if not (0 < least_share < 1 and 0 < readable < 1):
        raise ValueError(f"least_share, readable: expected in (0, 1), found {least_share}, {readable}")
    report = variance_explained(activations, factors)
    told, dense = decodability(activations, factors, cv, groups), unit_density(activations, factors)
    shown = pca_alignment(activations, factors, components)
    rows, warnings = [], []
    for name, share in sorted(report.per_factor.items(), key=lambda item: -item[1]):
        score, chance = told[name]
        rank, unique = shown[name].rank, report.unique[name]
        rows.append(AuditRow(name, share, unique, score, chance, dense[name], rank, shown[name].correlations))
        if told[name].above_chance >= readable and share < least_share:
            hidden = f"none of the first {components} components shows it" if rank is None else f"component {rank}"
            warnings.append(
                f"{name} can be read ({score:.2f}, chance {chance:.2f}) but has {100 * share:.1f} % of the variance "
                f"({hidden}): neighbours, principal components and dissimilarities hardly see it"
            )
    joint, residual = float(report.joint or 0.0), float(report.residual or 0.0)
    return AuditReport(tuple(rows), joint, report.shared, residual, tuple(warnings))


def frame_factors(frames: Frames, names: Sequence[str] = (), angles: Sequence[str] = ()) -> dict[str, NDArray]:
    """Columns of frames that can be factors.

    Args:
        frames: whose columns.
        names: which; all that number something or are one or a few numbers, if empty.
        angles: names of those that are angles, rad; they become cosine and sine.

    Raises:
        ValueError: there is no such column, or it cannot be a factor.
    """
    frames.need(names)
    found = {}
    for name, values in frames.columns.items():
        fits = values.ndim == 1 or (values.ndim == 2 and np.issubdtype(values.dtype, np.floating))
        if name in names and not fits:
            raise ValueError(f"factor {name}: expected (N,), or numbers (N, k), found {values.shape} {values.dtype}")
        if not fits or (names and name not in names) or (not names and (values == values[0]).all()):
            continue
        if name in angles:
            found[name] = np.stack([np.cos(values), np.sin(values)], axis=-1).reshape(len(frames), -1)
        else:
            found[name] = np.asarray(values)
    if not found:
        raise ValueError(f"frames: expected columns that say something of each, found {sorted(frames.columns)}")
    return found


def encoder_audit(
    encoder: Encoder,
    frames: Frames,
    factors: Sequence[str] | Mapping[str, ArrayLike] = (),
    angles: Sequence[str] = (),
    least_share: float = 0.05,
) -> AuditReport:
    """Audit an encoder on frames; episodes are held out as a whole where there are fewer of them than frames.

    Args:
        encoder: of what the frames hold.
        frames: what it encodes.
        factors: names of columns, or what else is known of each frame; all columns if empty.
        angles: see `frame_factors`.
        least_share: see `audit`.
    """
    named = factors if isinstance(factors, Mapping) else frame_factors(frames, factors, angles)
    named = named_factors(named, len(frames))
    whole = len(np.unique(frames.episode))
    groups = frames.episode if 5 <= whole < len(frames) else None
    return audit(embed(encoder, frames), named, least_share, groups=groups)
