"""Runs of `policies.train` in the test's own process, whole and interrupted."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from policies.train import new_run
from policies.train_config import TrainConfig
from representation import training, training_state
from representation.training import TrainingLoop, check_output


def run(config: TrainConfig) -> TrainingLoop:
    """Train to the end."""
    check_output(config)
    config.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(config.threads)
    result = new_run(config)
    result.train()
    return result


def check_resumed_equals_whole(whole: TrainingLoop, config: TrainConfig, step: int) -> TrainingLoop:
    """Kill a run at a step, resume it, and compare all of its state with that of one that was not interrupted.

    Args:
        whole: the other.
        config: of the run, with an output of its own.
        step: before which it is killed.

    Returns:
        The resumed run.
    """

    def killed(at, largest, schedule):
        if at == step:
            raise KeyboardInterrupt
        return training_state.decay_after(at, largest, schedule)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "decay_after", killed)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    resumed = run(replace(config, resume=True))
    states = [load_file(one.output / "training_state.safetensors") for one in (whole, resumed)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    return resumed
