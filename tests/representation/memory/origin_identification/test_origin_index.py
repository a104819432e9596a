from __future__ import annotations

import numpy as np
import pytest
import torch

from representation.memory.origin_identification.origin_index import OriginIndex, mean_average_precision


def plain(scores, right):
    """Average precision of one query, item by item: wrong ones that score as much rank before it."""
    found = []
    for item in np.flatnonzero(right):
        before = sum(scores[other] > scores[item] for other in np.flatnonzero(right))
        wrong = sum(scores[other] >= scores[item] for other in np.flatnonzero(~right))
        found.append((before + 1) / (before + 1 + wrong))
    return np.mean(found)


def test_mean_average_precision_is_that_of_a_plain_count_and_ties_count_against():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(20, 30))
    right = rng.uniform(size=scores.shape) < 0.1
    right[:, 3] = True
    expected = np.mean([plain(*pair) for pair in zip(scores, right, strict=True)])
    assert mean_average_precision(scores, right) == pytest.approx(expected, abs=1e-9)
    tied = rng.integers(0, 3, scores.shape).astype(float)
    one = np.zeros(scores.shape, bool)
    one[np.arange(20), rng.integers(0, 30, 20)] = True
    expected = np.mean([plain(*pair) for pair in zip(tied, one, strict=True)])
    assert mean_average_precision(tied, one) == pytest.approx(expected, abs=1e-9)
    assert mean_average_precision(np.ones((1, 4)), np.eye(4, dtype=bool)[:1]) == 0.25
    with pytest.raises(ValueError, match="relevant: expected"):
        mean_average_precision(scores, np.zeros(scores.shape, bool))


def test_a_gallery_tells_origins_and_what_has_none():
    index = OriginIndex(lambda images: images.flatten(1))
    with pytest.raises(ValueError, match="gallery: expected some frames, found none"):
        index.trace(torch.ones(1, 1, 1, 2))
    index.add([(0, 0), (0, 1)], torch.tensor([[[[1.0, 0.0]]], [[[0.0, 2.0]]]]))
    index.add_vectors(["from a memory"], torch.tensor([[-5.0, 0.0]]))
    near, far = index.trace(torch.tensor([[[[0.1, 1.0]]], [[[1.0, -1.0]]]]), k=2, threshold=0.9)
    assert near.origin == (0, 1)
    assert near.ids == ((0, 1), (0, 0))
    assert near.scores == pytest.approx((1 / 1.01**0.5, 0.1 / 1.01**0.5))
    assert far.origin is None
    assert far.ids[0] == (0, 0)
    assert index.trace(torch.tensor([[[[1.0, -1.0]]]]))[0].origin == (0, 0)
    with pytest.raises(ValueError, match="ids: expected 1, one for each picture, found 2"):
        index.add(["a", "b"], torch.ones(1, 1, 1, 2))
    with pytest.raises(ValueError, match="vectors: expected 2 numbers, found 3"):
        index.add_vectors(["a"], torch.ones(1, 3))
