from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from representation.training_state import decay_after, update_average


@pytest.mark.parametrize(
    ("update", "expected"), [(1, 0.0), (2, 0.405396), (10, 0.822172), (100, 0.968377), (10**4, 0.999), (10**7, 0.9999)]
)
def test_the_decay_rises_as_in_the_released_training_of_rdt(update, expected):
    assert decay_after(update - 1, 0.9999, "power") == pytest.approx(expected, abs=1e-6)


def test_the_decay_rises_as_a_ratio_to_the_largest():
    assert [decay_after(step, 0.9, "ratio") for step in (0, 5, 1000)] == pytest.approx([0.1, 0.4, 0.9])


def test_the_average_moves_towards_the_model_by_the_rest_of_the_decay():
    average, model = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(average.weight, 1.0)
    nn.init.constant_(model.weight, 3.0)
    update_average(average, model, 0.75)
    torch.testing.assert_close(average.weight, torch.tensor([[1.5]]))


def test_buffers_of_the_average_are_those_of_the_model():
    model = nn.BatchNorm1d(2)
    average = copy.deepcopy(model)
    model.train()(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    update_average(average, model, 0.9)
    for name, value in model.named_buffers():
        assert torch.equal(dict(average.named_buffers())[name], value), name
