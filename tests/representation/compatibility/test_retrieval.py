from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch.nn import functional as F  # noqa: N812

from representation.compatibility.retrieval import prefix_similarity, retrieval_cmc_map


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_long_and_a_short_vector_are_compared_by_what_both_have():
    new, old = drawn(4, 160), drawn(6, 128, seed=1)
    similar = prefix_similarity(new, old, normalize=False)
    torch.testing.assert_close(similar, new[:, :128] @ old.T)
    changed = torch.cat([new[:, :128], new[:, 128:].flip(1)], dim=1)
    assert torch.equal(prefix_similarity(changed, old, normalize=False), similar)
    torch.testing.assert_close(prefix_similarity(old, new, normalize=False), similar.T)
    ranks = prefix_similarity(new, old).argsort(dim=1)
    cosines = F.cosine_similarity(new[:, None, :128], old[None], dim=2)
    assert torch.equal(ranks, cosines.argsort(dim=1))


def test_measures_are_those_of_sorting_by_hand_and_of_sklearn():
    features, labels = drawn(300, 8), torch.arange(300) % 7
    found = retrieval_cmc_map(features, features, labels, labels)
    similar = prefix_similarity(features, features).numpy()
    tops, precisions = [], []
    for row in range(300):
        others = np.delete(np.arange(300), row)
        matches = (labels[others] == labels[row]).numpy()
        order = np.argsort(-similar[row, others])
        tops.append((matches[order[0]], matches[order[:5]].any()))
        precisions.append(average_precision_score(matches, similar[row, others]))
    np.testing.assert_allclose([found["top1"], found["top5"]], np.mean(tops, axis=0))
    assert found["mAP"] == pytest.approx(np.mean(precisions))


def test_queries_of_unknown_classes_do_not_count_and_misfits_are_refused():
    queries, gallery = torch.eye(3), torch.eye(3)[:2]
    found = retrieval_cmc_map(queries, gallery, torch.tensor([0, 1, 2]), torch.tensor([0, 1]), exclude_self=False)
    assert found == {"top1": 1.0, "top5": 1.0, "mAP": 1.0}
    with pytest.raises(ValueError, match="expected a gallery of the 3 queries, found 2 vectors"):
        retrieval_cmc_map(queries, gallery, torch.tensor([0, 1, 2]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="gallery labels: expected 2, found 1"):
        retrieval_cmc_map(queries, gallery, torch.tensor([0, 1, 2]), torch.tensor([0]), exclude_self=False)
    with pytest.raises(ValueError, match="expected the class of at least one query"):
        retrieval_cmc_map(queries, gallery, torch.tensor([3, 4, 5]), torch.tensor([0, 1]), exclude_self=False)
