import numpy as np
import pytest
from torch import nn

from representation.data.frames import SEGMENTATION, Frames
from representation.interface import Encoder
from sim.benchmarks import encoder_benchmark
from sim.benchmarks.encoder_benchmark import SYSTEMS, TOWER, UNTRAINED, EncoderSettings
from sim.reported_scenes import PARTS, SHOWN, VIEWS

SMALL = EncoderSettings(
    tables=24, pretraining_tables=12, epochs=5, segmentation_steps=1, report_epochs=1, fractions=(1.0,), size=16,
    seeds=(3, 4),
)  # fmt: skip


def fake_tables(options):
    """Scenes of two views, of which the dark ones show nothing."""
    rng, count = np.random.default_rng(options.seed), options.count
    bright = np.repeat(np.arange(count) % 2, VIEWS)
    images = rng.integers(0, 60, (VIEWS * count, options.size, options.size, 3)) + 150 * bright[:, None, None, None]
    parts = rng.integers(0, 3, (VIEWS * count, options.size, options.size)).astype(np.uint8)
    columns = {SEGMENTATION: parts, SHOWN: np.stack([bright, 1 - bright], axis=1).astype(np.uint8)}
    names = {SEGMENTATION: PARTS, SHOWN: ("bright", "dark")}
    texts = ["the gripper is open .", "the gripper is closed ."]
    return Frames(
        images.astype(np.uint8), np.repeat(np.arange(count), VIEWS), columns, names, [texts[one] for one in bright]
    )


def test_the_pool_learned_nothing_little_and_other_things():
    frames = fake_tables(encoder_benchmark.ReportedOptions(None, count=40, size=16))
    found = encoder_benchmark.encoders(frames, 1)
    assert tuple(found) == (UNTRAINED, *SYSTEMS, TOWER)
    assert all(isinstance(one, Encoder) and one.modality == "image" and not one.training for one in found.values())


def test_encoders_are_compared_in_all_tasks_and_laid_out(monkeypatch):
    monkeypatch.setattr(encoder_benchmark, "reported_scenes", fake_tables)
    two = {"one": Means(4), "other": Means(6)}
    monkeypatch.setattr(encoder_benchmark, "encoders", lambda frames, steps: two)
    result = encoder_benchmark.run(SMALL)
    assert len(result["runs"]) == 2 * 3 * 2
    assert {run["seed"] for run in result["runs"]} == {3, 4}
    assert set(result["table"]["ranking"]) == {"one", "other"}
    assert result["parameters"]["one"] == sum(part.numel() for part in two["one"].parameters())
    page = encoder_benchmark.format_markdown(result)
    assert result["text"] in page
    assert "classification auroc 100 %" in page
    assert "report bleu_4 100 %" in page
    assert "24 tables" in page
    assert result["text"] in encoder_benchmark.format_text(result)


class Means(nn.Module):
    """An encoder of pictures that gives what one convolution averages."""

    modality = "image"

    def __init__(self, width):
        super().__init__()
        self.width, self.layer = width, nn.Conv2d(3, width, 3, 2, 1)

    def encode(self, inputs):
        return self.layer(inputs).mean(dim=(2, 3))

    def save(self, directory):
        raise NotImplementedError(directory)


def test_the_recipe_is_the_small_one_with_the_steps_that_were_asked_for():
    config = encoder_benchmark.recipe(SMALL)
    assert config.classification.epochs == 5
    assert config.classification.first_evaluation <= config.classification.epochs
    assert config.segmentation.steps == 1
    assert config.report.epochs == 1
    assert config.fractions == pytest.approx((1.0,))
