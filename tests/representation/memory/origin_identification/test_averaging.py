from __future__ import annotations

import pytest
import torch
from torch import nn

from representation.memory.origin_identification.averaging import ExponentialMovingAverage


@pytest.mark.parametrize(("warm_up", "expected"), [(False, 1e-4), (True, 1 - 2 / 11)])
def test_one_update_from_zero_to_one(warm_up, expected):
    parameter = nn.Parameter(torch.zeros(3))
    average = ExponentialMovingAverage([parameter], 0.9999, warm_up)
    parameter.data.fill_(1.0)
    average.update()
    torch.testing.assert_close(average.averages[0], torch.full((3,), expected), atol=1e-6, rtol=0)
    average.copy_to_parameters()
    torch.testing.assert_close(parameter.data, average.averages[0])


def test_a_decay_of_one_is_refused():
    with pytest.raises(ValueError, match=r"decay: expected a number in \[0, 1\), found 1"):
        ExponentialMovingAverage([], 1.0)
