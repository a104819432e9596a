"""What a benchmark of a system is asked, and the claims that it answers with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import t as student

ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """How much a benchmark does.

    Attributes:
        seeds: independent repetitions, of weights and data order.
        scale: share of the training steps that is done; below 1 only to try whether it runs.
        data: directory with the renders that `make bench-representation` makes.
    """

    seeds: int = 3
    scale: float = 1.0
    data: Path = Path("runs/renders")

    def __post_init__(self) -> None:
        if self.seeds < 2 or not 0 < self.scale <= 1:
            raise ValueError(f"seeds, scale: expected at least 2 and in (0, 1], found {self.seeds} and {self.scale}")

    def steps(self, count: int) -> int:
        """That share of a number of steps or epochs, at least one."""
        return max(1, round(self.scale * count))


@dataclass(frozen=True, slots=True)
class Claim:
    """A number beside the number that it is compared with, both by seed.

    Attributes:
        claim: what is measured, and how.
        baseline_name: what it is compared with.
        ours: by seed.
        baseline: by seed, in the same order.
        least: smallest mean difference, ours minus baseline, with which the claim holds; None where nothing is claimed
            and the numbers are only told.
        every: whether each seed's difference must be as large, not the mean alone.
    """

    claim: str
    baseline_name: str
    ours: tuple[float, ...]
    baseline: tuple[float, ...]
    least: float | None = 0.0
    every: bool = False

    def difference(self) -> tuple[float, float, float]:
        """Mean difference by seed, ours minus baseline, and its 95 % interval by Student's t."""
        differences = np.subtract(self.ours, self.baseline)
        mean = float(differences.mean())
        if np.ptp(differences) == 0:
            return mean, mean, mean
        error = differences.std(ddof=1) / len(differences) ** 0.5
        reach = float(student.ppf(0.975, len(differences) - 1) * error)
        return mean, mean - reach, mean + reach

    def holds(self) -> bool:
        """Whether the difference is as large as asked, if anything is; rounding takes nothing from it."""
        if self.least is None:
            return True
        smallest = float(np.subtract(self.ours, self.baseline).min()) if self.every else self.difference()[0]
        return smallest >= self.least - ROUNDING
