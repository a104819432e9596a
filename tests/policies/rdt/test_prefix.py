from __future__ import annotations

import math

import pytest
import torch

from policies.rdt.prefix import Prefix, guidance_scale, guided, most_consistent, prefix_weights
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


def test_the_exact_jacobian_pulls_back_through_a_linear_network():
    generator = torch.Generator().manual_seed(0)
    x, rows = torch.randn(1, 6, 4, generator=generator), torch.randn(6, 4, generator=generator)
    matrix, mask, level = torch.randn(4, 4, generator=generator), torch.tensor([1.0, 1, 0, 1]), Level(0.6, 0.8)
    prefix = Prefix(rows, 2, 5)
    x.requires_grad_()
    clean = x @ matrix
    error = prefix.weights() * mask * (rows - clean.detach())
    expected = clean.detach() + 0.8 * min(5.0, 1 / 0.48) * error @ matrix.T
    torch.testing.assert_close(guided(clean, x, prefix, mask, level), expected, atol=1e-6, rtol=0)


def test_the_weight_of_the_correction_is_capped():
    assert guidance_scale(Level(0.01, 0.99995), 5.0) == 5.0
    assert guidance_scale(Level(0.6, 0.8), 5.0) == pytest.approx(1 / 0.48)


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
