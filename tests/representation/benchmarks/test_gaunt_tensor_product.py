from __future__ import annotations

import torch

from representation.benchmarks import gaunt_tensor_product as benchmark
from representation.benchmarks.gaunt_tensor_product import (
    LowNetwork,
    MomentNetwork,
    moment_clouds,
    moment_errors,
    moments_of,
    path_loop,
    plain_network,
)
from representation.equivariant.cloud_targets import random_turns
from representation.equivariant.gaunt_tensor_product import gaunt_tensor_product
from representation.equivariant.gaunt_tensor_product.spherical_harmonics import number_of


def test_the_loop_over_paths_is_the_product():
    one, other = torch.randn(4, number_of(3)), torch.randn(4, number_of(3))
    torch.testing.assert_close(path_loop(3, one, other)(), gaunt_tensor_product(one, other, 3), atol=1e-5, rtol=0)


def test_moments_turn_with_the_cloud_and_the_trace_does_not():
    points = moment_clouds(4, torch.Generator().manual_seed(0))
    turn = random_turns(1, torch.Generator().manual_seed(1))[0]
    before, after = moments_of(points), moments_of(points @ turn.T + 1.0)
    torch.testing.assert_close(after[:, 0], before[:, 0])
    for part in (slice(1, 6), slice(6, 13)):
        torch.testing.assert_close(after[:, part].norm(dim=1), before[:, part].norm(dim=1))
        assert (after[:, part] - before[:, part]).abs().max() > 1e-3


def test_both_networks_have_about_as_many_weights():
    ours, plain = MomentNetwork(), plain_network(10_000)
    count = sum(weights.numel() for weights in plain.parameters())
    assert 9_000 < count < 14_000
    points = moment_clouds(2, torch.Generator().manual_seed(0))
    assert ours(points).shape == plain(points).shape == moments_of(points).shape


def test_features_of_degrees_up_to_1_are_trained_too_and_tell_little_of_higher_ones(monkeypatch):
    points = moment_clouds(2, torch.Generator().manual_seed(0))
    assert LowNetwork()(points).shape == moments_of(points).shape
    trained = []
    train = benchmark._train
    monkeypatch.setattr(benchmark, "_train", lambda model, *rest: trained.append(type(model)) or train(model, *rest))
    found = moment_errors(0, steps=8)
    assert LowNetwork in trained
    assert found["low, explained"] < 0.1
    assert found["low, explained"] != found["plain, explained"]
    assert found["low"] > 0
