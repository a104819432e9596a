from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from representation.compatibility.class_prototypes import class_prototypes, known_classes, prototype_cross_entropy


def test_a_prototype_is_the_mean_of_unit_vectors_by_class_and_keeps_its_length():
    features = torch.tensor([[2.0, 0.0], [0.0, 5.0], [3.0, 3.0]])
    prototypes = class_prototypes(features, torch.tensor([1, 1, 3]), 4)
    torch.testing.assert_close(prototypes[1], torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(prototypes[3], F.normalize(torch.ones(2), dim=0))
    assert known_classes(prototypes).tolist() == [False, True, False, True]
    with pytest.raises(ValueError, match="labels: expected 0 to 2, found 1 to 3"):
        class_prototypes(features, torch.tensor([1, 1, 3]), 3)


def test_classes_without_a_prototype_are_left_out_on_both_sides():
    generator = torch.Generator().manual_seed(0)
    vectors = F.normalize(torch.randn(6, 4, generator=generator), dim=1)
    prototypes = torch.randn(5, 4, generator=generator)
    prototypes[[1, 4]] = 0
    labels = torch.tensor([0, 1, 2, 3, 4, 3])
    found = prototype_cross_entropy(vectors, labels, prototypes, 0.1)
    rows, numbers = [0, 2, 3, 5], torch.tensor([0, 1, 2, 2])
    expected = F.cross_entropy(vectors[rows] @ prototypes[[0, 2, 3]].T, numbers, label_smoothing=0.1)
    torch.testing.assert_close(found, expected)
    assert prototype_cross_entropy(vectors, torch.full((6,), 1), prototypes) == 0
