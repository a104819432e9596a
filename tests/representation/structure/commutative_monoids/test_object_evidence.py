import json

import numpy as np
import pytest
import torch

from representation.checkpoint import CONFIG_FILE
from representation.registry import load_model
from representation.structure.commutative_monoids.object_evidence import (
    CENTRE,
    EvidenceConfig,
    ObjectEvidence,
    drawn_sights,
    load_object_evidence,
    mean_place,
    sights_of,
)
from representation.structure.commutative_monoids.train import main, trained_object_evidence


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def test_a_sight_is_where_the_depth_puts_it_in_the_base_frame():
    intrinsics = np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]])
    pose = np.eye(4)
    pose[:3, :3] = np.diag([1.0, -1, -1])  # looks down
    pose[:3, 3] = 0.5, 0.1, 2.0
    depth = np.full((80, 100), 1.5, np.float32)
    depth[:, 60:] = np.nan
    sure = 0.8
    found = np.array([[sure, 0.1, 0, 0], [sure, 0.1, -0.5 * sure, 0.25 * sure], [sure, 0.1, 0.5 * sure, 0]], np.float32)
    sights = sights_of(found, depth, intrinsics, pose)
    np.testing.assert_allclose(sights[0], [0.5, 0.1, 0.5, sure], atol=1e-6)
    np.testing.assert_allclose(sights[1], [0.5 - 0.25 * 1.5, 0.1 - 0.1 * 1.5, 0.5, sure], atol=1e-6)
    assert sights[2, 3] == 0


def test_drawn_sights_are_of_their_objects():
    sights, places = drawn_sights(500, 40, seeded(), mistaken=0.0)
    assert (mean_place(sights) - places).norm(dim=1).mean() < 0.01
    assert (sights[..., 3] == 0).float().mean() == pytest.approx(0.2, abs=0.02)
    assert (sights[:, 0, 3] > 0).all()
    mixed, places = drawn_sights(500, 40, seeded())
    assert (mean_place(mixed) - places).norm(dim=1).mean() > 0.05


def test_a_fuser_comes_back_equal_and_others_are_refused(tmp_path):
    model = ObjectEvidence(EvidenceConfig(dim=8), seeded())
    model.save(tmp_path)
    again = load_model(tmp_path)
    sights, _ = drawn_sights(3, 5, seeded())
    told = [one.told(one.monoid.fold(one.elements(sights), sights[..., 3] > 0)) for one in (model, again)]
    assert torch.equal(*told)
    assert (told[0][:, 3] > 0).all()
    (tmp_path / CONFIG_FILE).write_text(json.dumps({"system": "clip", "config": {}}))
    with pytest.raises(ValueError, match="expected commutative_monoids, found 'clip'"):
        load_object_evidence(tmp_path)
    (tmp_path / CONFIG_FILE).write_text(json.dumps({"system": "commutative_monoids", "config": {"size": 3}}))
    with pytest.raises(ValueError, match="expected dim and op"):
        load_object_evidence(tmp_path)


def test_training_is_repeated_exactly_and_finds_objects_better_than_their_middle(tmp_path, capsys):
    model, again = (trained_object_evidence(EvidenceConfig(dim=16), 60, seed=1) for _ in range(2))
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    sights, places = drawn_sights(400, 8, seeded(5))
    told = model.told(model.monoid.fold(model.elements(sights), sights[..., 3] > 0))[:, :3]
    assert (told - places).norm(dim=1).mean() < 0.8 * (torch.tensor(CENTRE) - places).norm(dim=1).mean()
    main(["--output", str(tmp_path / "fuser"), "--steps", "2"])
    assert "16 sights: off by" in capsys.readouterr().out
    assert load_object_evidence(tmp_path / "fuser").config == EvidenceConfig()
