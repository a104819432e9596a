from __future__ import annotations

import numpy as np
import pytest

from representation.benchmarks.claims import BenchOptions
from representation.benchmarks.pretraining import COURSES, Course, run, scores
from representation.registry import SYSTEMS
from tests.representation.test_pretrain import colored


def test_every_system_that_pretrains_on_pictures_alone_has_a_course():
    trained = {name for name, system in SYSTEMS.items() if system.module.startswith("representation.pretraining.")}
    assert trained - {"segmentation", "madeleine", "customcontrast"} == set(COURSES)


def test_colours_are_read_before_and_after_the_training_and_from_pixels():
    found = scores("mochi", colored(64), Course("colours", batch=16), 2, 0)
    assert set(found) == {"raw pixels", "random initialisation", "pretrained"}
    assert found["raw pixels"] == pytest.approx(1.0)
    assert all(np.isfinite(list(found.values())))


def test_pictures_that_were_not_made_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="renders"):
        run(BenchOptions(data=tmp_path / "renders"))
