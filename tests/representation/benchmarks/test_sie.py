from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.claims import BenchOptions
from representation.benchmarks.sie import (
    SPLIT,
    VICREG,
    Settings,
    VICReg,
    chance_rank,
    objective_of,
    run,
    scores,
    split_classes,
    turn_score,
)
from representation.data.frames import Frames
from representation.pretraining.sie import Config, covariance_loss, new, variance_loss

OBJECTS, VIEWS = 8, 4


def posed():
    """Noise that is said to show objects of two classes, in rotations."""
    rng = np.random.default_rng(0)
    objects = np.repeat(np.arange(OBJECTS), VIEWS)
    turns = rng.normal(size=(len(objects), 4))
    columns = {"label": objects % 2, "rotation": turns / np.linalg.norm(turns, axis=1, keepdims=True)}
    images = rng.integers(0, 255, (len(objects), 48, 48, 3), dtype=np.uint8)
    return Frames(images, objects, columns, {"label": ("one", "other")})


def test_all_trainings_begin_with_one_encoder():
    frames = posed()
    first, second = (objective_of(name, frames, 3).encoder.state_dict() for name in (SPLIT, VICREG))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_loss_of_vicreg_is_that_of_its_projections_and_its_rotations_do_not_matter():
    frames, config = posed(), Config()
    objective = VICReg(config, torch.Generator().manual_seed(0))
    batch = objective.batch(frames, np.arange(12), torch.Generator().manual_seed(1))
    x, y = (objective.projector(objective.encoder(batch[view])) for view in ("first", "second"))
    expected = config.invariance * F.mse_loss(x, y) + config.variance * (variance_loss(x) + variance_loss(y))
    expected = expected + config.covariance * (covariance_loss(x) + covariance_loss(y))
    torch.testing.assert_close(objective(batch).total, expected)
    turned = objective(batch | {"rotation": -batch["rotation"]}).total
    torch.testing.assert_close(turned, expected)
    ours = new(config, frames, 0)
    assert not torch.allclose(ours(batch).total, ours(batch | {"rotation": -batch["rotation"]}).total)


def test_as_many_objects_of_each_class_are_held_out_with_all_their_views():
    frames = posed()
    training, held_out = split_classes(frames, 1, np.random.default_rng(0))
    assert sorted([*training, *held_out]) == list(range(len(frames)))
    assert frames.columns["label"][held_out].tolist() in ([0] * VIEWS + [1] * VIEWS, [1] * VIEWS + [0] * VIEWS)
    assert not set(frames.episode[training]) & set(frames.episode[held_out])


def test_turns_are_read_of_objects_that_the_reader_did_not_see_where_vectors_tell_them():
    rng = np.random.default_rng(0)
    objects = np.repeat(np.arange(40), VIEWS)
    turns = Rotation.from_euler("xyz", rng.uniform(-1, 1, (len(objects), 3))).as_quat()
    frames = Frames(np.zeros((len(objects), 4, 4, 3), np.uint8), objects, {"rotation": turns})
    fitted, scored = np.flatnonzero(objects < 30), np.flatnonzero(objects >= 30)
    settings = Settings(batch=64, reading_steps=200)
    told = turn_score(turns, frames, fitted, scored, settings, 0)
    untold = turn_score(rng.normal(size=turns.shape), frames, fitted, scored, settings, 0)
    assert told > 0.8 > untold


def test_chance_is_the_mean_of_reciprocal_places():
    assert chance_rank(16) == pytest.approx(0.2113, abs=1e-4)


def test_every_claim_has_a_number_for_each_seed(tmp_path):
    frames = posed()
    found = scores(0, frames, Settings(steps=1, batch=8, held_out=1, reading_steps=2))
    assert 0 <= found[f"{SPLIT}: class"] <= 1
    assert found[f"{SPLIT}: in the first 5"] == 1.0
    (tmp_path / "renders").mkdir()
    with pytest.raises(FileNotFoundError, match=r"python -m sim\.posed_objects"):
        run(BenchOptions(data=tmp_path / "renders"))
