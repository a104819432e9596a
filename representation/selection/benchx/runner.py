"""`BenchmarkRunner`: every backend, task, fraction of labels and seed under one recipe."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from representation.data.atomic_files import write_json
from representation.selection.benchx.backends import FeatureBackend
from representation.selection.benchx.cases import Cases
from representation.selection.benchx.classification import ClassificationRecipe, fit_classification
from representation.selection.benchx.outcome import Outcome
from representation.selection.benchx.picture_transforms import PictureTransform
from representation.selection.benchx.report import ReportRecipe, fit_report
from representation.selection.benchx.report_generator import ReportSizes
from representation.selection.benchx.segmentation import SegmentationRecipe, fit_segmentation
from representation.selection.benchx.splits import (
    TEST,
    TRAIN,
    VALIDATION,
    fraction_name,
    random_splits,
    read_splits,
    stratified_splits,
    write_splits,
)
from representation.selection.benchx.table import BenchmarkTable, Run

SEARCH_SEED = 1042
"""Of the trainings that search a learning rate; never one that is reported."""


@dataclass(frozen=True)
class BenchmarkConfig:
    """One protocol for all backends; the defaults are the published ones.

    Attributes:
        classification: how probes are trained.
        segmentation: how segmenters are trained.
        report: how report generators are trained.
        fractions: of the training cases.
        split_seed: of the splits, which are alike for all seeds of training.
        search_lrs: learning rates of probes that are tried for each backend on the validation cases; none if empty.
        search_batch_sizes: batch sizes that are tried with each of them; that of the recipe if empty.
        device: of torch.
    """

    classification: ClassificationRecipe = field(default_factory=ClassificationRecipe)
    segmentation: SegmentationRecipe = field(default_factory=SegmentationRecipe)
    report: ReportRecipe = field(default_factory=ReportRecipe)
    fractions: tuple[float, ...] = (0.01, 0.1, 1.0)
    split_seed: int = 42
    search_lrs: tuple[float, ...] = ()
    search_batch_sizes: tuple[int, ...] = ()
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not self.fractions or len(set(self.fractions)) != len(self.fractions):
            raise ValueError(f"fractions: expected different ones, found {self.fractions}")


def small_config(size: int = 64) -> BenchmarkConfig:
    """The protocol for small encoders, small pictures and two cores: fewer steps, higher learning rates, small heads.

    Args:
        size: side of the pictures, pixels.
    """
    pictures = PictureTransform(size, 0.6, normalise=False)
    whole = replace(pictures, smallest_area=1.0)
    return BenchmarkConfig(
        ClassificationRecipe(lr=3e-3, batch_size=32, epochs=60, total_steps=1500, pictures=pictures),
        SegmentationRecipe(
            channels=32,
            auxiliary_channels=32,
            lr=2e-3,
            steps=300,
            warmup_steps=30,
            evaluate_every=100,
            pictures=whole,
        ),
        ReportRecipe(
            epochs=30,
            patience=8,
            beam=3,
            block_trigrams=False,
            sizes=ReportSizes(width=128, feedforward=128),
            pictures=whole,
        ),
    )


class BenchmarkRunner:
    """Trains and measures.

    Args:
        config: the protocol.
        output: directory that gets `splits/TASK/`, which are read if they are there, a JSON file of each run in
            `runs/`, `table.json` and `table.txt`; nothing is written if None.
        own: recipes of probes of single backends, in place of the protocol's; for showing what that does to rankings.
    """

    def __init__(
        self,
        config: BenchmarkConfig,
        output: Path | None = None,
        own: Mapping[str, ClassificationRecipe] | None = None,
    ) -> None:
        self.config, self.output, self._own = config, output, dict(own or {})

    def splits(self, name: str, cases: Cases) -> dict[str, NDArray[np.int64]]:
        """Rows of each part of a task's cases: those on disk, else those that came with them, else drawn ones."""
        directory = self.output / "splits" / name if self.output else None
        if directory is not None and directory.is_dir():
            return read_splits(directory, len(cases))
        seed, fractions = self.config.split_seed, self.config.fractions
        if cases.given:
            found = dict(cases.given)
            rows = np.random.default_rng(seed).permutation(found[TRAIN])
            for fraction in fractions:
                found[fraction_name(fraction)] = np.sort(rows[: max(1, round(fraction * len(rows)))])
        elif cases.labels is not None:
            found = stratified_splits(cases.labels, seed, fractions)
        else:
            found = random_splits(len(cases), seed, fractions)
        if directory is not None:
            write_splits(found, directory)
        return found

    def run(
        self, backends: Mapping[str, FeatureBackend], tasks: Mapping[str, Cases], seeds: Sequence[int] = (42, 0, 1)
    ) -> BenchmarkTable:
        """Train every backend in every task, with every fraction and seed.

        Args:
            backends: by name; they are left as they are.
            tasks: cases by name.
            seeds: of the trainings.

        Raises:
            ValueError: no backend, task or seed; or a part of the cases is too small.
        """
        if not backends or not tasks or not seeds or len(set(seeds)) != len(seeds):
            raise ValueError(
                f"expected backends, tasks and different seeds, found {list(backends)}, {list(tasks)}, {list(seeds)}"
            )
        if SEARCH_SEED in seeds and self.config.search_lrs:
            raise ValueError(f"seeds: expected others than {SEARCH_SEED}, with which learning rates are searched")
        parts = {name: self.splits(name, cases) for name, cases in tasks.items()}
        total = len(backends) * len(tasks) * len(self.config.fractions) * len(seeds)
        runs = []
        with tqdm(total=total, desc="runs", unit="run") as bar:
            for task, cases in tasks.items():
                for name, backend in backends.items():
                    recipe = self._recipe(name, backend, cases, parts[task])
                    for fraction in self.config.fractions:
                        for seed in seeds:
                            began = time.monotonic()
                            outcome = self._fit(backend, cases, parts[task], fraction, recipe, seed)
                            seconds = round(time.monotonic() - began, 2)
                            runs.append(Run(name, task, fraction, seed, outcome, seconds, recipe))
                            self._write(runs[-1])
                            bar.update()
                            bar.set_postfix_str(f"{name} {task} {outcome.measure} {outcome.value:.3f}")
        table = BenchmarkTable(runs)
        if self.output is not None:
            write_json(self.output / "table.json", table.content())
            (self.output / "table.txt").write_text(table.text() + "\n", encoding="utf-8")
        return table

    def _recipe(self, name: str, backend: FeatureBackend, cases: Cases, parts: Mapping[str, NDArray]) -> Any:
        """The recipe of a backend in a task; the search looks at validation cases and at a seed of its own only."""
        if cases.kind != "classification":
            return getattr(self.config, cases.kind)
        recipe = self._own.get(name, self.config.classification)
        tried = [
            replace(recipe, lr=lr, batch_size=size)
            for lr in self.config.search_lrs
            for size in self.config.search_batch_sizes or (recipe.batch_size,)
        ]
        if not tried:
            return recipe
        largest = max(self.config.fractions)
        scores = [self._fit(backend, cases, parts, largest, one, SEARCH_SEED).validation for one in tried]
        return tried[int(np.argmax(scores))]

    def _fit(
        self,
        backend: FeatureBackend,
        cases: Cases,
        parts: Mapping[str, NDArray],
        fraction: float,
        recipe: Any,
        seed: int,
    ) -> Outcome:
        splits = (parts[fraction_name(fraction)], parts[VALIDATION], parts[TEST])
        fit: Any = {"classification": fit_classification, "segmentation": fit_segmentation, "report": fit_report}[
            cases.kind
        ]
        return fit(backend, cases, splits, recipe, seed, self.config.device)

    def _write(self, run: Run) -> None:
        if self.output is not None:
            name = f"{run.task}-{run.backend}-{fraction_name(run.fraction)}-{run.seed}.json"
            write_json(self.output / "runs" / name.replace("/", "_"), json.loads(json.dumps(run.content())))
