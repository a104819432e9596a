"""Which readings predict an outcome by a rule that holds elsewhere: `python -m representation.analysis.vet_features`.

For instance, which joints tell an action by the same rule in all episodes of a LeRobot dataset:

    --data DIR --outcome action:0 --features observation.state:0 observation.state:1 observation.state:2

Every environment, by default every episode, gives coefficients of its own; `pac_invariant` tells which subsets keep
theirs, and in what share of other such environments they will. Some environments are held out to compare that with,
and with all features fitted on all environments together. Readings and outcome are divided by their standard
deviations, and each environment is centred. Rules are linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from representation.analysis.pac_invariant.certificate import pac_certificate
from representation.analysis.pac_invariant.subsets import (
    InvariantSubset,
    count_subsets,
    explained_share,
    generalization_rate,
    invariant_subsets,
    moments_of,
    pooled_erm,
)
from representation.data.frames import Frames, open_frames

EPISODE, TEXT = "episode", "text"
FEWEST_ENVIRONMENTS, ROWS_PER_FEATURE = 4, 5


@dataclass(frozen=True)
class VetOptions:
    """What is vetted.

    Attributes:
        data: directory of frames with columns of numbers: renders, a LeRobot dataset, bags.
        outcome: what is predicted: a column, or one of its entries as NAME:INDEX.
        features: what from, likewise.
        environment: column whose values tell environments apart; `episode`, or `text` for the instruction.
        tolerance: largest change of coefficients, as a share of their length.
        violations: environments that a subset may leave.
        delta: probability with which the certificate may be wrong.
        max_size: of the subsets; 0 for any.
        held_out: share of the environments that rules are tried on and not fitted.
        seed: chooses them, and the anchor.
        camera: of a LeRobot dataset or a bag; the first one if left out.
    """

    data: Path
    outcome: str
    features: tuple[str, ...]
    environment: str = EPISODE
    tolerance: float = 0.2
    violations: int = 0
    delta: float = 0.05
    max_size: int = 0
    held_out: float = 0.3
    seed: int = 0
    camera: str = ""


@dataclass(frozen=True)
class VetReport:
    """What was found.

    Attributes:
        features: names.
        fitted: environments that rules are fitted on.
        accepted: subsets within the tolerance.
        explained: of each, share of the outcome's variance in the held-out environments.
        kept: of each, share of the held-out environments whose own rule is within the tolerance.
        allowed: share of such environments in which any accepted subset changes, with a probability of 1 - delta.
        pooled_explained: of all features, pooled.
        pooled_kept: likewise.
    """

    features: tuple[str, ...]
    fitted: int
    accepted: tuple[InvariantSubset, ...]
    explained: tuple[float, ...]
    kept: tuple[float, ...]
    allowed: float
    pooled_explained: float
    pooled_kept: float

    def lines(self) -> list[str]:
        """A table for people, the subset that explains most first."""
        rows = [f"{len(self.accepted)} subsets keep their rule in {self.fitted} environments"]
        order = np.argsort([-share for share in self.explained], kind="stable")
        rows.append(f"{'explained':>10}{'kept':>7}{'change':>8}  rule")
        for place in order:
            one = self.accepted[place]
            rule = " ".join(f"{c:+.2f} {self.features[k]}" for k, c in zip(one.subset, one.coef, strict=True))
            rows.append(f"{self.explained[place]:>10.3f}{self.kept[place]:>7.2f}{one.spread:>8.3f}  {rule}")
        rows.append(f"{self.pooled_explained:>10.3f}{self.pooled_kept:>7.2f}{'':>8}  all features, pooled")
        rows.append(f"certificate: each of them changes in at most {self.allowed:.2f} of such environments")
        return rows


def column(frames: Frames, name: str) -> NDArray[np.float64]:
    """Numbers (N,) of a column, or of one of its entries.

    Raises:
        ValueError: no such numbers.
    """
    key, _, index = name.partition(":")
    frames.need((key,))
    values = np.asarray(frames.columns[key])
    if index:
        if values.ndim != 2 or not index.isdigit() or int(index) >= values.shape[1]:
            raise ValueError(f"{name}: expected an entry of {key}, which has the shape {values.shape}")
        values = values[:, int(index)]
    if values.ndim != 1 or values.dtype.kind not in "fiub":
        raise ValueError(f"{name}: expected one number a frame, found {values.shape} {values.dtype}; NAME:INDEX?")
    return values.astype(np.float64)


def environments_of(frames: Frames, options: VetOptions) -> list[tuple[NDArray, NDArray]]:
    """Features (n, d) and outcomes (n,) of each environment that has enough frames, in a random order.

    Raises:
        ValueError: too few environments, readings that never change, or columns that are not there.
    """
    if options.environment == TEXT:
        frames.need(("texts",))
        keys = np.asarray(frames.texts)
    else:
        keys = frames.episode if options.environment == EPISODE else column(frames, options.environment)
    names = [*options.features, options.outcome]
    values = np.stack([column(frames, name) for name in names], axis=1)
    spread = values.std(axis=0)
    if not options.features or (spread < 1e-12).any():
        still = [name for name, size in zip(names, spread, strict=True) if size < 1e-12]
        raise ValueError(f"features: expected at least one, and readings that change, found {still} that do not")
    values = values / spread
    parts = [values[keys == key] for key in np.unique(keys)]
    parts = [part for part in parts if len(part) >= ROWS_PER_FEATURE * len(names)]
    if len(parts) < FEWEST_ENVIRONMENTS:
        least = ROWS_PER_FEATURE * len(names)
        raise ValueError(
            f"{options.environment}: expected at least {FEWEST_ENVIRONMENTS} environments of {least} frames, "
            f"found {len(parts)}"
        )
    order = np.random.default_rng(options.seed).permutation(len(parts))
    return [(parts[place][:, :-1], parts[place][:, -1]) for place in order]


def vet_features(frames: Frames, options: VetOptions) -> VetReport:
    """Look at all subsets of the features; see the module."""
    envs = environments_of(frames, options)
    held = min(max(1, round(options.held_out * len(envs))), len(envs) - 2)
    train, test = (moments_of(part, fit_intercept=True) for part in (envs[held:], envs[:held]))
    limit, count = options.max_size or None, len(options.features)
    found = invariant_subsets(train, options.tolerance, "anchor_max", limit, options.violations)
    accepted = tuple(one for one in found if one.accepted)
    everything, pooled = tuple(range(count)), pooled_erm(train)
    return VetReport(
        options.features,
        len(envs) - held,
        accepted,
        tuple(explained_share(test, one.subset, one.coef) for one in accepted),
        tuple(generalization_rate(one.subset, one.coef, test, options.tolerance) for one in accepted),
        pac_certificate(len(envs) - held, count_subsets(count, limit), options.delta, options.violations),
        explained_share(test, everything, pooled),
        generalization_rate(everything, pooled, test, options.tolerance),
    )


def main(args: Sequence[str] | None = None) -> None:
    """Print a table."""
    options = tyro.cli(VetOptions, args=args, description=__doc__)
    print("\n".join(vet_features(open_frames(options.data, options.camera, size=8), options).lines()))


if __name__ == "__main__":
    main()
