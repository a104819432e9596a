"""All runs of a benchmark in one ranked table, with what is more than the noise of seeds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest, rankdata
from scipy.stats import t as student

from representation.selection.benchx.outcome import Outcome


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        backend: what was trained on.
        task: name of the task.
        fraction: of the training cases.
        seed: of the training.
        outcome: what came of it.
        seconds: that it took.
        recipe: how it was trained.
    """

    backend: str
    task: str
    fraction: float
    seed: int
    outcome: Outcome
    seconds: float
    recipe: Any

    def content(self) -> dict[str, Any]:
        """What JSON holds of it."""
        return asdict(self) | {"value": self.outcome.value}


@dataclass(frozen=True)
class Comparison:
    """A backend beside another one in one task.

    Attributes:
        differences: mean difference by fraction, paired by seed.
        clear: by fraction, whether the 95 % interval of the difference over seeds (Student's t) leaves out 0.
    """

    differences: tuple[float, ...]
    clear: tuple[bool, ...]

    @property
    def signs(self) -> str:
        """A sign for each fraction: +, - or =; with a star where the difference is more than the noise of seeds."""
        return " ".join(
            ("=" if d == 0 else "+" if d > 0 else "-") + ("*" if clear else "")
            for d, clear in zip(self.differences, self.clear, strict=True)
        )


class BenchmarkTable:
    """Runs of each backend in each task, with each fraction and seed.

    Args:
        runs: all of them.

    Raises:
        ValueError: none, or some are missing.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = tuple(runs)
        self.backends, self.tasks, self.fractions, self.seeds = (
            tuple(dict.fromkeys(getattr(run, name) for run in runs)) for name in ("backend", "task", "fraction", "seed")
        )
        self._values = {(run.backend, run.task, run.fraction, run.seed): run.outcome.value for run in runs}
        wanted = len(self.backends) * len(self.tasks) * len(self.fractions) * len(self.seeds)
        if not runs or len(self._values) != wanted or len(self.runs) != wanted:
            raise ValueError(f"runs: expected one of each of {wanted} combinations, found {len(self.runs)}")

    def values(self, backend: str, task: str, fraction: float) -> np.ndarray:
        """The measure that ranks, by seed."""
        return np.array([self._values[backend, task, fraction, seed] for seed in self.seeds])

    def cell(self, backend: str, task: str, fraction: float) -> tuple[float, float]:
        """Mean and standard deviation (of the population) over seeds."""
        values = self.values(backend, task, fraction)
        return float(values.mean()), float(values.std())

    def ranking(
        self, task: str = "", fraction: float | None = None, seed: int | None = None
    ) -> list[tuple[str, float]]:
        """Backends and their mean rank over tasks and fractions, the best first; equal ones share a rank.

        Args:
            task: all if empty.
            fraction: all if None.
            seed: means over all if None.
        """
        ranks = []
        for one in [task] if task else self.tasks:
            for share in self.fractions if fraction is None else [fraction]:
                values = [
                    self.cell(name, one, share)[0] if seed is None else self._values[name, one, share, seed]
                    for name in self.backends
                ]
                ranks.append(rankdata([-value for value in values]))
        means = np.mean(ranks, axis=0)
        return [(self.backends[place], float(means[place])) for place in np.argsort(means, kind="stable")]

    def compare(self, first: str, second: str, task: str) -> Comparison:
        """How far one backend is before another, by fraction."""
        differences, clear = [], []
        for fraction in self.fractions:
            pairs = self.values(first, task, fraction) - self.values(second, task, fraction)
            mean = float(pairs.mean())
            reach = 0.0
            if len(pairs) > 1:
                reach = float(student.ppf(0.975, len(pairs) - 1) * pairs.std(ddof=1) / len(pairs) ** 0.5)
            differences.append(mean)
            clear.append(len(pairs) > 1 and abs(mean) > reach)
        return Comparison(tuple(differences), tuple(clear))

    def sign_test(self, first: str, second: str) -> tuple[int, int, float]:
        """In how many tasks and fractions a backend is before another, and behind it; two-sided p by a sign test."""
        differences = [d for task in self.tasks for d in self.compare(first, second, task).differences]
        wins, losses = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
        return wins, losses, float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0

    def content(self) -> dict[str, Any]:
        """What JSON holds of it: ranks, cells, and each backend beside the one that is ranked behind it."""
        ranked = self.ranking()
        cells = [
            {"backend": name, "task": task, "fraction": share, "mean": mean, "std": std}
            for name, _ in ranked
            for task in self.tasks
            for share in self.fractions
            for mean, std in [self.cell(name, task, share)]
        ]
        pairs = [
            {
                "first": first,
                "second": second,
                "signs": {task: self.compare(first, second, task).signs for task in self.tasks},
                "wins": wins,
                "losses": losses,
                "p": p,
            }
            for first, second in self._neighbours()
            for wins, losses, p in [self.sign_test(first, second)]
        ]
        return {"seeds": list(self.seeds), "ranking": dict(ranked), "cells": cells, "pairs": pairs}

    def _neighbours(self) -> Iterator[tuple[str, str]]:
        names = [name for name, _ in self.ranking()]
        return itertools.pairwise(names)

    def text(self) -> str:
        """The table for people; under each measure the paired sign against the backend that is ranked behind."""
        measures = {run.task: run.outcome.measure for run in self.runs}
        head = ["backend", "rank"]
        head += [f"{task} {measures[task]} {100 * share:g} %" for task in self.tasks for share in self.fractions]
        rows = [head]
        behind = dict(self._neighbours())
        for name, rank in self.ranking():
            cells = [self.cell(name, task, share) for task in self.tasks for share in self.fractions]
            rows.append([name, f"{rank:.2f}", *(f"{mean:.3f} ± {std:.3f}" for mean, std in cells)])
            if name in behind:
                signs = [s for task in self.tasks for s in self.compare(name, behind[name], task).signs.split()]
                wins, losses, p = self.sign_test(name, behind[name])
                rows.append([f"  against {behind[name]}", f"{wins}:{losses}, p {p:.2f}", *signs])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, f"means and deviations over {len(self.seeds)} seeds; *: more than their noise"])
