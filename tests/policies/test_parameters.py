from __future__ import annotations

import pytest
import torch
from accelerate import init_empty_weights
from torch import nn

from policies.parameters import replace_parameter


@pytest.mark.parametrize(("dtype", "found"), [("stored", torch.float64), ("bfloat16", torch.bfloat16)])
def test_a_network_without_memory_gets_the_value_in_the_number_format(dtype, found):
    with init_empty_weights():
        model = nn.Sequential(nn.Linear(2, 3))
    model.requires_grad_(False)
    replace_parameter(model, "0.weight", torch.ones(3, 2, dtype=torch.float64), dtype, "file: key")
    assert (model[0].weight.dtype, model[0].weight.device.type) == (found, "cpu")
    assert (model[0].weight == 1).all()
    assert not model[0].weight.requires_grad


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.ones(2, 3), r"expected shape \(3, 2\), found \(2, 3\)"),
        (torch.ones(3, 2).int(), r"expected floating-point values, found torch\.int32"),
        (torch.full((3, 2), torch.inf), "expected finite values, found 6 that are not"),
        (torch.full((3, 2), 1e6), "expected finite values, found 6 that are not"),  # too large for the format
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(value, message):
    model = nn.Sequential(nn.Linear(2, 3))
    before = model[0].weight
    with pytest.raises(ValueError, match=rf"file: key: {message}"):
        replace_parameter(model, "0.weight", value, "float16", "file: key")
    assert model[0].weight is before
