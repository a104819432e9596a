import json

import numpy as np
import pytest
import torch

from policies import compose
from policies.interface import load_policy
from policies.rdt.learner import RDTLearner
from policies.rdt.training_options import RDTTraining
from policies.spatialvla.learner import SpatialVLALearner
from policies.train_config import TrainConfig
from representation.training import new_accelerator
from tests.policies.demonstrations import write_demonstrations
from tests.policies.rdt.episodes import write_bimanual


def tuned(learner, directory, seed):
    """A copy of the learner's policy, all weights moved at random."""
    generator = torch.Generator().manual_seed(seed)
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    with torch.no_grad():
        for parameter in learner.model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    learner.save(learner.model, directory, "cpu")
    learner.model.load_state_dict(before)


@pytest.fixture(scope="module", params=["spatialvla", "rdt"])
def made(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("compose")
    learner_class = SpatialVLALearner
    if request.param == "spatialvla":
        write_demonstrations(root / "data", 6, np.random.default_rng(0))
    else:
        write_bimanual(root / "data", np.random.default_rng(0))
        learner_class = RDTLearner
    config = TrainConfig(
        dataset=(root / "data",),
        output=root / "work",
        policy=request.param,
        size="tiny",
        validation_episodes=2,
        rdt=RDTTraining(left_wrist="", image_size=16, chunk=8),
    )
    learner = learner_class(config, new_accelerator(config))
    learner.save(learner.model, root / "base", "cpu")
    for number in range(2):
        tuned(learner, root / f"tuned{number}", number)
    return root


def arguments(root, output, more=""):
    return (
        f"--base {root}/base --tuned {root}/tuned0 {root}/tuned1 --dataset {root}/data --output {output} --steps 6 "
        f"--batch-size 8 --threads 1 {more}"
    ).split()


def test_a_composed_policy_is_no_worse_than_its_base_and_loads(made, tmp_path, capsys):
    assert compose.main(arguments(made, tmp_path / "out", "--budget 12")) == 0
    assert "composed: held-out loss" in capsys.readouterr().out
    summary = json.loads((tmp_path / "out" / "compose.json").read_text())
    losses = summary["held_out_loss"]
    assert losses["composed"] <= losses["base"]
    assert summary["kept"] == 12
    assert summary["coefficients"] == 2 * len(summary["blocks"])
    base, composed = (load_policy(str(path)) for path in (made / "base", tmp_path / "out" / "policy"))
    changed = [
        name
        for name, value in base.model.state_dict().items()
        if not torch.equal(value, composed.model.state_dict()[name])
    ]
    assert 0 < len(changed) <= 14  # of tied tables there are two names
    assert (tmp_path / "out" / "coefficients.safetensors").stat().st_size < 20_000


def test_policies_that_are_not_of_the_base_are_refused(made, tmp_path, capsys):
    same = [
        str(made / "base") if "tuned" in one and "--" not in one else one for one in arguments(made, tmp_path / "a")
    ]
    assert compose.main(same) == 1
    assert "found the same weights" in capsys.readouterr().err
    assert compose.main(arguments(made, tmp_path / "b", "--budget 0")) == 1
    assert "budget: expected 1 to" in capsys.readouterr().err
    with pytest.raises(ValueError, match="tuned: expected at least one"):
        compose.ComposeOptions("base", (), made / "data", tmp_path / "c")
