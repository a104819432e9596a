import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from representation.selection.benchx import (
    BenchmarkConfig,
    BenchmarkRunner,
    BenchmarkTable,
    Cases,
    ClassificationRecipe,
    ReportRecipe,
    SegmentationRecipe,
)
from representation.selection.benchx.classification import fit_classification
from representation.selection.benchx.outcome import Outcome
from representation.selection.benchx.picture_transforms import PictureTransform
from representation.selection.benchx.report import fit_report
from representation.selection.benchx.segmentation import fit_segmentation
from representation.selection.benchx.table import Run


class Means(nn.Module):
    """Colours on average; or nothing of them."""

    embed_dim = 3

    def __init__(self, blind):
        super().__init__()
        self.blind = blind

    def forward_features(self, images):
        means = images.mean(dim=(2, 3))
        return torch.ones_like(means) if self.blind else means

    def feature_pyramid(self, images):
        return [self.forward_features(images)[:, :, None, None]]


def colour_cases(count=200):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, count)
    images = rng.integers(0, 100, (count, 1, 8, 8, 3))
    images[labels == 1, ..., 0] += 100
    return Cases(images.astype(np.uint8), labels=labels, names=("dull", "red"))


RECIPE = ClassificationRecipe(
    lr=0.05, epochs=10, warmup_steps=2, total_steps=100, pictures=PictureTransform(8, 1.0, normalise=False)
)
CONFIG = BenchmarkConfig(classification=RECIPE, fractions=(0.1, 1.0))
BACKENDS = {"blind": Means(True), "seeing": Means(False)}


def test_the_runner_ranks_backends_and_writes_a_file_of_each_run(tmp_path):
    table = BenchmarkRunner(CONFIG, tmp_path).run(BACKENDS, {"colours": colour_cases()}, (0, 1))
    assert [name for name, _ in table.ranking()] == ["seeing", "blind"]
    files = sorted((tmp_path / "runs").iterdir())
    assert len(files) == 8
    content = json.loads((tmp_path / "runs" / "colours-seeing-train_10-1.json").read_text())
    assert content["value"] == content["outcome"]["metrics"]["f1"] > 0.8
    assert content["recipe"]["lr"] == 0.05
    assert json.loads((tmp_path / "table.json").read_text())["ranking"] == {"seeing": 1.0, "blind": 2.0}
    assert "against blind" in (tmp_path / "table.txt").read_text()
    assert (tmp_path / "splits" / "colours" / "train_10.txt").is_file()


def test_splits_on_disk_are_not_drawn_anew(tmp_path):
    cases = colour_cases()
    drawn = BenchmarkRunner(CONFIG, tmp_path).splits("colours", cases)
    read = BenchmarkRunner(replace(CONFIG, split_seed=7), tmp_path).splits("colours", cases)
    assert all(np.array_equal(read[name], rows) for name, rows in drawn.items())


def test_a_given_split_is_kept():
    given = {"train": np.arange(100), "val": np.arange(100, 150), "test": np.arange(150, 200)}
    found = BenchmarkRunner(CONFIG).splits("colours", replace(colour_cases(), given=given))
    assert np.array_equal(found["test"], given["test"])
    assert len(found["train_10"]) == 10
    assert set(found["train_10"]) <= set(range(100))


def test_learning_rates_are_searched_on_validation_cases_with_a_seed_of_their_own():
    config = replace(CONFIG, fractions=(1.0,), search_lrs=(1e-6, 0.05))
    table = BenchmarkRunner(config).run({"seeing": Means(False)}, {"colours": colour_cases()}, (0,))
    assert table.runs[0].recipe.lr == 0.05
    with pytest.raises(ValueError, match="seeds: expected others than 1042"):
        BenchmarkRunner(config).run(BACKENDS, {"colours": colour_cases()}, (1042,))


def test_a_recipe_of_its_own_changes_one_backend():
    own = {"seeing": replace(RECIPE, lr=1e-9)}
    table = BenchmarkRunner(replace(CONFIG, fractions=(1.0,)), own=own).run(BACKENDS, {"c": colour_cases()}, (0,))
    assert {run.backend: run.recipe.lr for run in table.runs} == {"blind": 0.05, "seeing": 1e-9}


def table_of(values):
    runs = []
    for (backend, fraction), by_seed in values.items():
        for seed, value in enumerate(by_seed):
            outcome = Outcome("f1", {"f1": value}, value, ())
            runs.append(Run(backend, "task", fraction, seed, outcome, 0.0, None))
    return BenchmarkTable(runs)


def test_the_table_tells_means_deviations_and_signs():
    table = table_of(
        {
            ("a", 0.1): (0.5, 0.7, 0.6), ("a", 1.0): (0.90, 0.91, 0.92),
            ("b", 0.1): (0.6, 0.5, 0.8), ("b", 1.0): (0.80, 0.81, 0.82),
        }
    )  # fmt: skip
    assert table.cell("a", "task", 0.1) == pytest.approx((0.6, np.std([0.5, 0.7, 0.6])))
    assert table.compare("a", "b", "task").signs == "- +*"
    assert table.sign_test("a", "b") == (1, 1, 1.0)
    assert dict(table.ranking()) == {"a": 1.5, "b": 1.5}
    assert table.ranking(fraction=1.0)[0] == ("a", 1.0)
    assert [name for name, _ in table.ranking(fraction=0.1, seed=0)] == ["b", "a"]
    assert "0.600 ± 0.082" in table.text()


def test_cases_without_what_a_task_wants_are_told():
    images, splits = np.zeros((4, 1, 8, 8, 3), np.uint8), (np.array([0, 1]), np.array([2]), np.array([3]))
    reported, labelled = Cases(images, reports=["a"] * 4), colour_cases()
    with pytest.raises(ValueError, match="cases: expected labels, found those of report"):
        fit_classification(Means(False), reported, splits, RECIPE)
    with pytest.raises(ValueError, match="cases: expected masks, found those of report"):
        fit_segmentation(Means(False), reported, splits, SegmentationRecipe(pictures=PictureTransform(8, 1.0)))
    with pytest.raises(ValueError, match="cases: expected reports, found those of classification"):
        fit_report(Means(False), labelled, splits, ReportRecipe())


def test_tables_with_holes_and_runs_of_nothing_are_told():
    with pytest.raises(ValueError, match="runs: expected one of each of 4 combinations, found 3"):
        table_of({("a", 0.1): (0.5,), ("a", 1.0): (0.5,), ("b", 0.1): (0.5,)})
    with pytest.raises(ValueError, match="expected backends, tasks and different seeds"):
        BenchmarkRunner(CONFIG).run(BACKENDS, {"colours": colour_cases()}, (0, 0))
    with pytest.raises(ValueError, match="fractions: expected different ones"):
        BenchmarkConfig(fractions=(1.0, 1.0))
