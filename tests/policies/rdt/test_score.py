from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from policies.interface import load_policy
from policies.rdt.learner import NORMALIZED_L2, SAMPLE_MSE, RDTLearner
from policies.rdt.mixture import Mixture
from policies.rdt.score import ScoreOptions, main, report, score
from policies.rdt.training_options import RDTTraining
from policies.train import new_run
from policies.train_config import TrainConfig
from tests.policies.rdt.episodes import write_bimanual


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "turn"
    write_bimanual(root, np.random.default_rng(0))
    return root


@pytest.fixture(scope="module")
def policy(demonstrations, tmp_path_factory):
    """A policy with `var` norms and clean rows, trained for a moment."""
    torch.set_num_threads(1)
    config = TrainConfig(
        dataset=(demonstrations,),
        output=tmp_path_factory.mktemp("run"),
        policy="rdt",
        size="tiny",
        rdt=RDTTraining(left_wrist="", image_size=16, chunk=8, max_delay=2),
        steps=60,
        batch_size=16,
        warmup_steps=4,
        lr=3e-3,
        average_decay=0.9,
        validation_episodes=2,
        threads=1,
    )
    new_run(config).train()
    return config.output / "policy"


@pytest.fixture(scope="module")
def scores(policy, demonstrations):
    return score(ScoreOptions(str(policy), (demonstrations,), episodes=2, steps=40, threads=1))


def test_the_norm_that_a_network_was_trained_with_is_the_better_one(scores):
    assert list(scores) == ["var", "rms"]
    assert scores["var"][SAMPLE_MSE] < scores["rms"][SAMPLE_MSE]
    lines = report(scores).splitlines()
    assert lines[0].split() == ["norm_stat", "sample_mse", "normalized_l2", "l1/turn"]
    names = (SAMPLE_MSE, NORMALIZED_L2, "error/l1/turn")
    assert lines[1].split() == ["var", *(f"{scores['var'][name]:.6g}" for name in names)]
    assert lines[3].startswith("var is better")


def test_a_kind_alone_scores_as_beside_the_other(policy, demonstrations, scores, tmp_path, capsys):
    settings = shutil.copytree(policy, tmp_path / "policy") / "policy.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"norm_stat": "rms"}))
    words = f"--policy {settings.parent} --dataset {demonstrations} --episodes 2 --steps 40 --norm-stat var"
    assert main(words.split()) == 0
    assert capsys.readouterr().out.splitlines()[1:] == report(scores).splitlines()[1:2]


def test_a_policy_with_clean_rows_that_does_not_say_how_many_scores_too(policy, demonstrations, scores, tmp_path):
    settings = shutil.copytree(policy, tmp_path / "policy") / "policy.json"
    content = json.loads(settings.read_text())
    assert content.pop("max_delay") == 2
    settings.write_text(json.dumps(content))
    options = ScoreOptions(str(settings.parent), (demonstrations,), episodes=2, steps=40, threads=1, norm_stat=("var",))
    assert score(options)["var"][SAMPLE_MSE] == pytest.approx(scores["var"][SAMPLE_MSE], rel=1e-4)


def test_errors_are_those_of_what_the_policy_samples(policy, demonstrations, monkeypatch):
    """With every sample off by 0.1 in the unified space, the errors have closed forms."""
    seen = []

    def off(model, conditions, state, mask, frequency, noise, solver):
        return seen[-1] + 0.1

    plain = RDTLearner._plain

    def noted(self, frames, generator):
        batch = plain(self, frames, generator)
        seen.append(batch["actions"])
        return batch

    monkeypatch.setattr(RDTLearner, "_plain", noted)
    monkeypatch.setattr("policies.rdt.learner.sample", off)
    monkeypatch.setattr(Mixture, "state_rms", lambda self, steps: np.full((len(steps), 128), 0.399, np.float32))
    found = score(ScoreOptions(str(policy), (demonstrations,), ("rms",), episodes=2, steps=40, threads=1))["rms"]
    assert found[SAMPLE_MSE] == pytest.approx(0.01, rel=1e-4)
    assert found[NORMALIZED_L2] == pytest.approx(0.25, rel=1e-4)
    scale = np.asarray(load_policy(str(policy)).settings.embodiment.action_scale)
    assert found["error/l1/turn"] == pytest.approx(0.1 * np.abs(scale).mean(), rel=1e-4)


def test_other_policies_and_too_few_demonstrations_are_said(policy, demonstrations, capsys):
    assert main(["--policy", str(policy), "--dataset", str(demonstrations), "--episodes", "99"]) == 1
    assert "expected fewer than the" in capsys.readouterr().err
    assert main(["--policy", "spatialvla_small", "--dataset", str(demonstrations)]) == 1
    assert "expected an RDT, found spatialvla" in capsys.readouterr().err
    with pytest.raises(ValueError, match="norm_stat: expected var, rms or both"):
        ScoreOptions(str(policy), (demonstrations,), ())
