from __future__ import annotations

import json

import numpy as np
import pytest

from policies.spatialvla.compatibility import compare_statistics, format_compatibility
from policies.spatialvla.fit_grids import main, read_actions, refit
from policies.spatialvla.normalizer import action_statistics
from policies.spatialvla.policy import SpatialVLAPolicy
from tests.policies.demonstrations import write_demonstrations
from tests.policies.spatialvla.conftest import demonstration_actions, make_policy


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "push"
    write_demonstrations(root, 4, np.random.default_rng(0))
    return root


def test_fitting_leaves_numbers_picture_and_an_adapted_policy(dataset, tmp_path, capsys):
    make_policy().save_pretrained(tmp_path / "before")
    arguments = ["--dataset", str(dataset), "--policy", str(tmp_path / "before"), "--output", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert "default" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "grids.json").read_text())
    assert content["actions"] == len(read_actions([dataset]))
    assert (tmp_path / "out" / "grids.png").stat().st_size > 1000
    adapted = SpatialVLAPolicy.from_pretrained(tmp_path / "out" / "policy").processor
    assert adapted.settings.dataset_key == "adapted"
    assert set(adapted.statistics) == {"default", "adapted"}
    assert adapted.grid.edges["theta"].tolist() == content["edges"]["theta"]
    assert main(arguments) == 1, "an output with files in it must be left alone"


def test_actions_on_another_scale_are_represented_far_better_after_the_refit():
    policy = make_policy()
    actions = demonstration_actions(np.random.default_rng(1)) * np.r_[np.full(6, 0.2), 1.0]

    def error(processor):
        tokens = processor.actions.encode(processor.normalizer.normalize(actions))
        decoded = processor.decode(tokens.reshape(len(tokens), -1))[:, 0]
        return np.abs(decoded - actions)[:, :3].mean()

    before = error(policy.processor)
    assert error(refit(policy, actions, "slow").processor) < 0.5 * before


def test_bins_of_equal_width_can_be_had_to_compare_with(dataset, tmp_path):
    make_policy().save_pretrained(tmp_path / "before")
    arguments = ["--dataset", str(dataset), "--policy", str(tmp_path / "before"), "--output", str(tmp_path / "out")]
    assert main([*arguments, "--distribution", "uniform"]) == 0
    grid = SpatialVLAPolicy.from_pretrained(tmp_path / "out" / "policy").processor.grid
    np.testing.assert_allclose(np.diff(grid.edges["roll"]), 2 / 3)
    assert grid.distribution == "uniform"
    assert make_policy().processor.grid.distribution == "gaussian"


def test_the_statistics_that_fit_come_first_and_the_others_are_marked():
    actions = demonstration_actions(np.random.default_rng(0))
    double = actions * np.r_[np.full(6, 3.0), 1.0]
    statistics = {
        "other/1.0": {"action": action_statistics(double)},
        "mine/1.0": {"action": action_statistics(actions)},
    }
    results = compare_statistics(actions, statistics)
    assert [(result.key, result.fits) for result in results] == [("mine/1.0", True), ("other/1.0", False)]
    assert [line.split()[1] for line in format_compatibility(results).splitlines()[1:]] == ["yes", "no"]


def test_a_dataset_with_other_actions_is_named(tmp_path, capsys):
    assert main(["--dataset", str(tmp_path / "nothing"), "--output", str(tmp_path / "out")]) == 1
    assert "nothing" in capsys.readouterr().err
