from __future__ import annotations

import math

import pytest
import torch

from representation.hypersphere import (
    alignment,
    expected_calibration_error,
    modality_gap,
    relative_alignment,
    retrieval_recall,
    uniformity,
)

X, Y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])


def test_three_points_have_the_values_of_paper_and_pencil():
    a, b = torch.stack([X, Y, -X]), torch.stack([Y, Y, -X])
    # Squared distances within a: 2, 4, 2.
    expected = -math.log((2 * math.exp(-4) + math.exp(-8)) / 3)
    assert uniformity(a) == pytest.approx(expected, abs=1e-6)
    # To its own: 2, 0, 0. To the best other: 2 (y), 0 (y), 2 (y).
    assert alignment(a, b) == pytest.approx(2 / 3, abs=1e-6)
    assert relative_alignment(a, b) == pytest.approx(((2 - 2) + (0 - 0) + (2 - 0)) / 3, abs=1e-6)
    assert modality_gap(a, b) == pytest.approx(math.hypot(1 / 3, 1 / 3), abs=1e-6)


def test_recall_counts_how_many_are_more_similar():
    a = torch.eye(3)
    b = torch.tensor([[0.9, 0.1, 0.0], [1.0, 0.5, 0.0], [0.0, 0.7, 0.6]])
    # The first has one better partner, the second one, the third none.
    assert retrieval_recall(a, b, 1) == pytest.approx(1 / 3)
    assert retrieval_recall(a, b, 2) == 1.0


def test_calibration_error_is_the_mean_gap_over_bins():
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    labels = torch.tensor([0, 0, 0, 1])
    # Half of the rows: right always, sure 0.9. The others: right half of the time, sure 0.6.
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.5 * 0.1 + 0.5 * 0.1, abs=1e-6)
    assert expected_calibration_error(torch.eye(2), torch.tensor([0, 1])) == 0.0
