from __future__ import annotations

import math

import pytest
import torch

from policies.rdt.prefix import Prefix, guidance_scale, guided, joined, most_consistent, prefix_weights
from policies.rdt.solver import Level


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [1, 1, 0.8, 0.6, 0.4, 0.2, 0, 0, 0, 0]),
        ("ones", [1, 1, 1, 1, 1, 1, 0, 0, 0, 0]),
        ("zeros", [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("exp", [1, 1, *(w * (math.exp(w) - 1) / (math.e - 1) for w in (0.8, 0.6, 0.4, 0.2)), 0, 0, 0, 0]),
    ],
)
def test_weights_fall_from_the_committed_rows_to_the_end_of_the_overlap(schedule, expected):
    found = prefix_weights(10, 2, 6, schedule)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=0)


def test_more_committed_rows_than_the_running_chunk_has_count_as_far_as_it_goes():
    assert prefix_weights(6, 4, 2, "exp").tolist() == [1, 1, 0, 0, 0, 0]


def test_the_identity_jacobian_has_its_closed_form_on_a_linear_network():
    generator = torch.Generator().manual_seed(0)
    x, rows = torch.randn(1, 6, 4, generator=generator), torch.randn(6, 4, generator=generator)
    matrix, mask, level = torch.randn(4, 4, generator=generator), torch.tensor([1.0, 1, 0, 1]), Level(0.6, 0.8)
    prefix = Prefix(rows, 2, 5, jacobian="identity")
    clean = x @ matrix
    factor = min(1.0, 0.8 / 1.4 * min(5.0, 1 / 0.48))
    expected = clean + factor * prefix.weights() * mask * (rows - clean)
    torch.testing.assert_close(guided(clean, x, prefix, mask, level), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [1.0, 0.05])
def test_the_exact_jacobian_pulls_back_as_far_as_leaves_the_least_error(size):
    generator = torch.Generator().manual_seed(0)
    x, rows = torch.randn(2, 6, 4, generator=generator), size * torch.randn(6, 4, generator=generator)
    matrix, mask, level = torch.randn(4, 4, generator=generator), torch.tensor([1.0, 1, 0, 1]), Level(0.6, 0.8)
    prefix = Prefix(rows, 2, 5, beta=100.0)
    x.requires_grad_()
    clean = size * x @ matrix
    weights = prefix.weights() * mask
    found = guided(clean, x, prefix, mask, level)

    def error(chunks):
        return (weights * (rows - chunks).square()).sum((-2, -1))

    predicted = clean.detach()
    way = (weights * (rows - predicted)) @ matrix.T
    along = ((found - predicted) / way)[:, :5].flatten(1)  # the same number in every row that counts
    torch.testing.assert_close(along, along[:, :1].expand_as(along), atol=0, rtol=1e-4)
    assert (along > 0).all()
    for factor in (0.9, 1.1):
        assert (error(found) < error(torch.lerp(predicted, found, factor))).all()


def test_the_weight_of_the_correction_is_capped():
    assert guidance_scale(Level(0.01, 0.99995), 5.0) == 5.0
    assert guidance_scale(Level(0.6, 0.8), 5.0) == pytest.approx(1 / 0.48)
    x = torch.ones(1, 6, 4, requires_grad=True)
    prefix = Prefix(torch.ones(6, 4), 6, 6, beta=2.0)
    found = guided(0.01 * x, x, prefix, torch.ones(4), Level(0.6, 0.8))
    torch.testing.assert_close(found, torch.full((1, 6, 4), 0.01 + 2.0 * 0.01 * 0.99), atol=1e-6, rtol=0)


def test_a_network_without_a_way_to_the_prefix_is_left_alone():
    x = torch.ones(1, 6, 4, requires_grad=True)
    found = guided(0.0 * x, x, Prefix(torch.ones(6, 4), 2, 5), torch.ones(4), Level(0.6, 0.8))
    torch.testing.assert_close(found, torch.zeros(1, 6, 4), atol=0, rtol=0)


def test_what_separates_the_chunks_fades_out_over_as_many_rows_as_are_committed():
    mask = torch.tensor([1.0, 1, 0, 1])
    found = joined(torch.zeros(1, 8, 4), Prefix(torch.ones(8, 4), 2, 6), mask)
    assert found[0, :, 0].tolist() == pytest.approx([1, 1, 2 / 3, 1 / 3, 0, 0, 0, 0])
    shorter = joined(torch.zeros(1, 8, 4), Prefix(torch.ones(8, 4), 2, 3), mask)
    assert shorter[0, :, 0].tolist() == pytest.approx([1, 1, 0.5, 0, 0, 0, 0, 0])
    nothing = joined(torch.zeros(1, 8, 4), Prefix(torch.ones(8, 4), 0, 6), mask)
    assert not nothing.any()
    assert not found[..., 2].any()
    abrupt = joined(torch.zeros(1, 8, 4), Prefix(torch.ones(8, 4), 2, 6, schedule="zeros"), mask)
    assert abrupt[0, :, 0].tolist() == pytest.approx([1, 1, 0, 0, 0, 0, 0, 0])


def test_the_chunk_that_goes_on_best_is_chosen():
    rows = torch.zeros(6, 4)
    chunks = torch.stack([rows + 1.0, rows + 0.1, rows + 0.5])
    chunks[1, 5] = 100.0  # beyond the overlap
    assert most_consistent(chunks, Prefix(rows, 2, 5), torch.ones(4)) == 1


@pytest.mark.parametrize(
    ("actions", "committed", "overlap", "message"),
    [
        (torch.zeros(6), 0, 0, "expected"),
        (torch.zeros(6, 4), 7, 0, "found.*7"),
        (torch.zeros(6, 4), 0, -1, "-1"),
        (torch.full((6, 4), math.nan), 0, 0, "finite"),
    ],
)
def test_a_prefix_that_cannot_be_is_refused(actions, committed, overlap, message):
    with pytest.raises(ValueError, match=message):
        Prefix(actions, committed, overlap)
