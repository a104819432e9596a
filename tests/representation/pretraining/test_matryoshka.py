from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F  # noqa: N812

from representation.image_tower import TowerEncoder
from representation.pretraining.matryoshka import (
    RELEASED_NESTING,
    RELEASED_TOWER,
    SYSTEM,
    CascadeClassifier,
    MatryoshkaCELoss,
    MatryoshkaLinear,
    NestedIndex,
    load_released,
    matryoshka_contrastive_loss,
    mean_average_precision_at_k,
    truncate,
)

NESTING = (2, 4, 8)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_shared_head_is_a_slice_and_short_prefixes_leave_the_rest_alone():
    head, z = MatryoshkaLinear(NESTING, 5, efficient=True), drawn(6, 8).requires_grad_()
    weight, bias = head.heads[0].weight, head.heads[0].bias
    for length, logits in zip(NESTING, head(z), strict=True):
        torch.testing.assert_close(logits, z[:, :length] @ weight[:, :length].T + bias, atol=1e-6, rtol=0)
    assert len(head.state_dict()) == 2
    assert len(MatryoshkaLinear(NESTING, 5).state_dict()) == 2 * len(NESTING)
    F.cross_entropy(head(z)[0], torch.arange(6) % 5).backward()
    assert weight.grad[:, :2].abs().sum() > 0
    assert not weight.grad[:, 2:].any()
    assert not z.grad[:, 2:].any()


def test_importance_chooses_and_adds_the_losses():
    logits, target = MatryoshkaLinear(NESTING, 5)(drawn(6, 8)), torch.arange(6) % 5
    single = [F.cross_entropy(one, target) for one in logits]
    torch.testing.assert_close(MatryoshkaCELoss()(logits, target), sum(single))
    for level, one in enumerate(single):
        importance = [float(level == other) for other in range(3)]
        torch.testing.assert_close(MatryoshkaCELoss(importance)(logits, target), one)
    with pytest.raises(ValueError, match="relative_importance: expected 3 weights, found 1"):
        MatryoshkaCELoss([1.0])(logits, target)


def test_each_prefix_is_normalised_after_the_cut():
    u, v = drawn(5, 8), drawn(5, 8, seed=1)
    expected = 0.0
    for length in NESTING:
        logits = F.normalize(u[:, :length], dim=1) @ F.normalize(v[:, :length], dim=1).T / 0.1
        own = torch.arange(5)
        expected += (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    torch.testing.assert_close(matryoshka_contrastive_loss(u, v, NESTING, 0.1), expected)
    torch.testing.assert_close(truncate(u, 4).norm(dim=1), torch.ones(5))


def test_a_cascade_that_is_never_sure_asks_the_last_and_one_that_is_stops():
    logits = [drawn(20, 5, seed=seed) for seed in range(3)]
    cascade = CascadeClassifier(NESTING)
    classes, levels = cascade.predict(logits)
    assert (levels == 2).all()
    assert cascade.expected_dim == 8
    np.testing.assert_array_equal(classes, logits[2].argmax(dim=1).numpy())
    assert (cascade.predict(logits, max_level=1)[1] == 1).all()
    labels = logits[2].argmax(dim=1)
    alike = [logits[2]] * 3
    assert CascadeClassifier(NESTING).fit(alike, labels).thresholds.tolist() == [0.1, 0.1]
    assert CascadeClassifier(NESTING, "largest").fit(alike, labels).thresholds.tolist() == [1.0, 1.0]
    surer = [20 * logits[2], logits[1], logits[0]]
    fitted = CascadeClassifier(NESTING).fit(surer, labels)
    assert (fitted.predict(surer)[0] == labels.numpy()).all()
    assert fitted.expected_dim == 2


def test_a_funnel_with_all_candidates_is_exact_search_and_costs_what_it_says():
    database, queries, dims = drawn(50, 8), drawn(7, 8, seed=1), (2, 4, 8)
    index = NestedIndex(database, dims)
    exact = torch.cdist(F.normalize(queries, dim=1), F.normalize(database, dim=1)).argmin(dim=1).numpy()
    np.testing.assert_array_equal(index.search(queries, 1, 8)[:, 0], exact)
    np.testing.assert_array_equal(index.funnel_search(queries, dims, (50, 50))[:, 0], exact)
    np.testing.assert_array_equal(index.adaptive_search(queries, 3, 2, 50, 8), index.search(queries, 3, 8))
    thousand = NestedIndex(drawn(1000, 64), (4, 8, 16, 32, 64))
    assert thousand.cost((4, 8, 16, 32, 64), (100, 50, 25, 10)) == 7040
    assert thousand.cost((64,)) == 64000
    with pytest.raises(ValueError, match="shortlists: expected falling numbers"):
        index.funnel_search(queries, dims, (10, 20))


def test_average_precision_divides_by_k():
    matches = np.array([[True, False, True, False]])
    assert mean_average_precision_at_k(matches) == pytest.approx((1 + 2 / 3) / 4)


@pytest.mark.parametrize("form", ["separate", "shared", "old shared"])
def test_published_networks_are_read_under_their_names(form, tmp_path):
    tower = TowerEncoder(RELEASED_TOWER, SYSTEM).tower
    state = {f"module.{name}": value for name, value in tower.state_dict().items()}
    assert "module.layer2.0.conv2.conv.weight" in state
    assert state["module.layer2.0.conv2.blur_filter"][0, 0, 1].tolist() == [2 / 16, 4 / 16, 2 / 16]
    efficient = form != "separate"
    head = MatryoshkaLinear(RELEASED_NESTING, 3, efficient)
    prefix = {"separate": "nesting_classifier_", "shared": "nesting_classifier_", "old shared": ""}[form]
    for name, value in head.state_dict().items():
        state[f"module.fc.{prefix}" + name.removeprefix("heads." if prefix else "heads.0.")] = value
    save_file(state, tmp_path / "released.safetensors")
    encoder, classifier = load_released(tmp_path / "released.safetensors")
    assert torch.equal(encoder.tower.conv1.weight, tower.conv1.weight)
    z = drawn(2, 2048)
    for ours, theirs in zip(classifier(z), head(z), strict=True):
        assert torch.equal(ours, theirs)
    del state["module.layer1.0.conv1.weight"]
    save_file(state, tmp_path / "released.safetensors")
    with pytest.raises(ValueError, match=r"missing=\['layer1\.0\.conv1\.weight'\]"):
        load_released(tmp_path / "released.safetensors")
