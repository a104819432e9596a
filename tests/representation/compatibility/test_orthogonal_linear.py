from __future__ import annotations

import copy

import pytest
import torch

from representation.compatibility.orthogonal_linear import OrthogonalLinear


def off_orthogonal(layer):
    matrix = layer.matrix().detach()
    return float((matrix.T @ matrix - torch.eye(len(matrix))).abs().max())


@pytest.mark.parametrize("parametrization", ["matrix_exp", "cayley"])
def test_the_matrix_stays_orthogonal_through_training_and_comes_back(parametrization):
    generator = torch.Generator().manual_seed(0)
    layer = OrthogonalLinear(12, parametrization=parametrization, generator=generator)
    first = layer.matrix().detach().clone()
    assert off_orthogonal(layer) < 1e-5
    optimizer = torch.optim.Adam(layer.parameters(), 1e-2, weight_decay=3e-5)
    for _ in range(300):
        x = torch.randn(32, 12, generator=generator)
        loss = (layer(x) - x.roll(1, dims=1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    matrix = layer.matrix().detach()
    assert (matrix - first).abs().max() > 0.1
    assert off_orthogonal(layer) < 1e-5
    assert abs(abs(float(torch.linalg.det(matrix))) - 1) < 1e-4
    again = OrthogonalLinear(12, parametrization=parametrization, generator=generator)
    again.load_state_dict(layer.state_dict())
    torch.testing.assert_close(again.matrix(), layer.matrix())
    torch.testing.assert_close(copy.deepcopy(layer).matrix(), layer.matrix())


def test_without_bias_distances_and_angles_stay():
    layer, x = OrthogonalLinear(9, bias=False), torch.randn(20, 9, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(torch.cdist(layer(x), layer(x)), torch.cdist(x, x), atol=1e-5, rtol=0)
    torch.testing.assert_close(layer(x) @ layer(x).T, x @ x.T, atol=1e-5, rtol=0)


def test_the_first_matrix_comes_from_the_generator():
    one, two, other = (
        OrthogonalLinear(5, generator=torch.Generator().manual_seed(seed)).matrix() for seed in (0, 0, 1)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
