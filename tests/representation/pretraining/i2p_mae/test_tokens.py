from __future__ import annotations

import numpy as np
import pytest
import torch

from representation.data.clouds import farthest_point_sample
from representation.pretraining.i2p_mae.tokens import (
    Level,
    chamfer_l2,
    group,
    guided_mask,
    nearest,
    packed,
    propagate_mask,
)


def cloud(batch=2, count=60, seed=0):
    return torch.randn(batch, count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def levels(batch=4):
    first = group(cloud(batch, 120), 48, 8)
    second = group(first.centers, 24, 4)
    return [first, second, group(second.centers, 10, 4)]


def test_farthest_points_are_those_of_the_definition():
    points = cloud()
    found = farthest_point_sample(points, 20)
    for own, chosen in zip(points.numpy(), found.numpy(), strict=True):
        naive, gaps = [0], []
        while len(naive) < 20:
            distance = ((own[:, None] - own[naive]) ** 2).sum(axis=2).min(axis=1)
            naive.append(int(distance.argmax()))
            gaps.append(distance.max())
        assert chosen.tolist() == naive
        assert (np.diff(gaps) <= 0).all()
    with pytest.raises(ValueError, match="points: expected at least 61, found 60"):
        farthest_point_sample(points, 61)


def test_neighbours_are_the_nearest_ones_and_groups_hold_them():
    points = cloud()
    own = group(points, 12, 5)
    for b in range(len(points)):
        distance = ((own.centers[b][:, None] - points[b]) ** 2).sum(dim=2)
        order = distance.argsort(dim=1)[:, :5]
        assert torch.equal(own.ids[b], order)
        torch.testing.assert_close(own.offsets[b], points[b][order] - own.centers[b][:, None])
        torch.testing.assert_close(nearest(points, own.centers, 5)[0][b], distance.gather(1, order))


def test_chamfer_distance_is_symmetric_and_counts_both_ways():
    a, b = cloud(seed=1), cloud(seed=2)
    torch.testing.assert_close(chamfer_l2(a, b), chamfer_l2(b, a))
    assert chamfer_l2(a, a).tolist() == [0, 0]
    shift = torch.tensor([1e-4, -2e-4, 1e-4], dtype=torch.float64)
    torch.testing.assert_close(chamfer_l2(a, a + shift), (2 * shift.square().sum()).expand(2), atol=1e-12, rtol=1e-6)


def test_exactly_so_many_tokens_stay_visible_and_salient_ones_rather():
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(200, 64, generator=generator)
    assert (guided_mask(torch.rand(200, 64, generator=generator), 0.8, noise).sum(dim=1) == 13).all()
    # Salient ones have 2 a, the others 0: exp(2 a / (a temperature)) is 10 at this temperature.
    saliency = torch.zeros(200, 64)
    saliency[:, ::2] = 3.0
    visible = guided_mask(saliency, 0.8, noise, temperature=2 / np.log(10))
    assert visible[:, ::2].sum() / visible.sum() >= 0.8
    even = guided_mask(torch.ones(200, 64), 0.8, noise)
    assert 0.45 < even[:, ::2].sum() / even.sum() < 0.55


def test_draws_have_the_chances_of_drawing_one_after_the_other():
    """Chance of the pair {0, 1} of three: p0 p1 / (1 - p0) + p1 p0 / (1 - p1)."""
    saliency = torch.tensor([[2.0, 1.0, 0.0]])
    p0, p1, _ = saliency.softmax(dim=1)[0].tolist()
    noise = torch.rand(20_000, 3, generator=torch.Generator().manual_seed(0))
    visible = guided_mask(saliency.expand(20_000, 3), 0.34, noise)
    share = (visible[:, 0] & visible[:, 1]).float().mean()
    assert share == pytest.approx(p0 * p1 / (1 - p0) + p1 * p0 / (1 - p1), abs=0.01)


def test_what_is_below_a_visible_token_is_visible_and_nothing_else():
    own = levels()
    noise = torch.rand(4, 10, generator=torch.Generator().manual_seed(3))
    found = propagate_mask(guided_mask(torch.ones(4, 10), 0.8, noise), own)
    assert [mask.shape[1] for mask in found] == [48, 24, 10]
    for level in (2, 1):
        for b in range(4):
            wanted = {
                i for g in range(found[level].shape[1]) if found[level][b, g] for i in own[level].ids[b, g].tolist()
            }
            assert set(found[level - 1][b].nonzero()[:, 0].tolist()) == wanted
    assert not found[1][:, 0].all()  # token 0 has no privilege


def test_visible_tokens_are_packed_in_their_order():
    order, valid = packed(torch.tensor([[False, True, False, True], [True, True, False, True]]))
    assert order[1].tolist() == [0, 1, 3]
    assert order[0][:2].tolist() == [1, 3]
    assert valid.tolist() == [[True, True, False], [True, True, True]]


def test_repeated_points_give_finite_distances():
    twice = cloud(1, 10).repeat(1, 4, 1)
    level: Level = group(twice, 20, 8)
    assert torch.isfinite(level.offsets).all()
    assert torch.isfinite(nearest(level.centers, twice, 3)[0]).all()
