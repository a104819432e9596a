from __future__ import annotations

import pytest
import torch

from representation.benchmarks.claims import BenchOptions
from representation.benchmarks.ponet import MIXERS, Task, accuracy
from representation.structure.ponet import PoNetConfig


@pytest.mark.parametrize("mixer", MIXERS)
def test_every_mixer_learns_which_token_is_there(mixer):
    labels = torch.arange(60) % 2
    steps = torch.randint(2, 5, (60, 12), generator=torch.Generator().manual_seed(0))
    steps[torch.arange(60), torch.arange(60) % 12] = labels
    task = Task(steps, labels, 40, PoNetConfig(vocab=5, dim=16, max_len=12, segments=3, dropout=0.0), 30, 10)
    assert accuracy(task, mixer, 0, BenchOptions()) > 0.7
