from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks import d_simplex as benchmark
from representation.benchmarks.digit_encoders import old_part, split_digits
from representation.compatibility.d_simplex import (
    RELEASED_TOWER,
    SYSTEM,
    Config,
    DSimplexEncoder,
    HOCLoss,
    SimplexClassifier,
    average_accuracy,
    average_compatibility,
    compatibility_matrix,
    hoc_objective,
    load_released,
    new,
    simplex_vertices,
)
from representation.compatibility.relative_representations import RelativeMemory
from representation.data.frames import Frames
from representation.image_tower import TowerEncoder


def drawn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("count", [2, 3, 8, 128, 1024])
def test_vertices_are_those_of_a_regular_simplex(count):
    vertices = simplex_vertices(count)
    assert vertices.shape == (count, count - 1)
    cosines = vertices @ vertices.T
    assert (cosines.diagonal() - 1).abs().max() < 1e-5
    beside = cosines[~torch.eye(count, dtype=torch.bool)]
    assert (beside + 1 / (count - 1)).abs().max() < 1e-5
    assert vertices.sum(dim=0).abs().max() < 1e-4
    assert count > 2 or vertices.abs().tolist() == [[1.0], [1.0]]


def test_one_class_is_no_simplex():
    with pytest.raises(ValueError, match="num_classes: expected at least 2, found 1"):
        simplex_vertices(1)


def test_hoc_has_the_values_of_hand_examples():
    pair = torch.eye(2, dtype=torch.float64)
    apart, alike = torch.tensor([0, 1]), torch.tensor([3, 3])
    assert float(HOCLoss()(pair, pair, apart)) == pytest.approx(math.log(2) - 10, abs=1e-6)
    assert float(HOCLoss()(pair, pair, alike)) == pytest.approx(math.log(2) - 10, abs=1e-6)
    assert float(HOCLoss()(pair, pair.flip(0), alike)) == pytest.approx(math.log(2), abs=1e-6)
    # Rows are old vectors: old 0 is e2, beside new 1, which is of another class, and new 0, its own.
    assert float(HOCLoss()(pair, pair.flip(0), apart)) == pytest.approx(math.log(1 + math.exp(10)), abs=1e-6)
    assert float(HOCLoss(mask="neginf")(pair, pair, apart)) == pytest.approx(0 - 10, abs=1e-6)
    assert float(HOCLoss(mask="neginf")(pair, pair, alike)) == pytest.approx(-10, abs=1e-6)
    with pytest.raises(ValueError, match="new: expected unit vectors, found lengths that are off by 1"):
        HOCLoss()(2 * pair, pair, apart)
    with pytest.raises(ValueError, match="mask: expected zero or neginf"):
        HOCLoss(mask="none")


@pytest.mark.parametrize("mask", ["zero", "neginf"])
def test_gradients_of_hoc_are_right(mask):
    labels, old = torch.tensor([0, 1, 1, 2]), F.normalize(drawn(4, 3, seed=1, dtype=torch.float64), dim=1)

    def loss(x):
        return HOCLoss(mask=mask)(F.normalize(x, dim=1), old, labels)

    assert torch.autograd.gradcheck(loss, drawn(4, 3, dtype=torch.float64).requires_grad_())


def test_the_objective_weighs_classes_and_hoc():
    logits, labels = drawn(4, 5), torch.tensor([0, 1, 2, 0])
    fresh, old = F.normalize(drawn(4, 3), dim=1), F.normalize(drawn(4, 3, seed=1), dim=1)
    expected = 0.3 * F.cross_entropy(logits, labels) + 0.7 * HOCLoss(5.0)(fresh, old, labels)
    torch.testing.assert_close(hoc_objective(logits, labels, fresh, old, 0.3, 5.0), expected)


def test_the_simplex_is_frozen_and_logits_are_of_vectors_as_they_are():
    head = SimplexClassifier(6, 8)
    before, h = head.weight.clone(), drawn(9, 6)
    optimizer = torch.optim.AdamW(head.parameters(), 1e-2, weight_decay=0.1)
    for _ in range(50):
        optimizer.zero_grad()
        F.cross_entropy(head(h)[0], torch.arange(9) % 8).backward()
        optimizer.step()
    assert torch.equal(head.weight, before)
    assert head.weight.grad is None
    assert [name for name, _ in head.named_parameters()] == ["projector.weight"]
    logits, z = head(h)
    torch.testing.assert_close(logits, z @ before.T)
    torch.testing.assert_close(z, h @ head.projector.weight.T)
    assert not list(SimplexClassifier(7, 8).parameters())
    assert len(list(SimplexClassifier(6, 8, projector_bias=True).parameters())) == 2


def test_averages_are_those_of_a_hand_example():
    matrix = np.array([[0.5, 0, 0], [0.6, 0.7, 0], [0.4, 0.8, 0.9]])
    assert average_compatibility(matrix) == pytest.approx(2 / 3)
    assert average_accuracy(matrix) == pytest.approx(65.0)
    with pytest.raises(ValueError, match="expected at least 2 versions, found 1"):
        average_compatibility(np.ones((1, 1)))


@pytest.mark.parametrize("protocol", ["template", "instance"])
def test_the_matrix_has_queries_in_rows_and_older_galleries_in_columns(protocol):
    labels = torch.arange(12) % 3
    x = torch.eye(3)[labels] + 0.05 * drawn(12, 3)
    versions = [lambda v: v, lambda v: 2 * v, lambda v: v.roll(1, dims=1)]
    matrix = compatibility_matrix(versions, (x, labels), (x.flip(0), labels.flip(0)), protocol)
    np.testing.assert_array_equal(matrix, [[1, 0, 0], [1, 1, 0], [0, 0, 1]])


def test_versions_share_vertices_and_others_are_refused(tmp_path):
    images = torch.randint(0, 255, (24, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = (torch.arange(24) % 3).numpy()
    frames = Frames(images.numpy(), labels, {"label": labels})
    first = new(Config(num_classes=8), frames, seed=0)
    assert set(first(first.batch(frames, np.arange(6), torch.Generator())).parts) == {"classes", "wrong"}
    first.encoder.save(tmp_path)
    later = new(Config(num_classes=8, old=str(tmp_path)), frames, seed=1)
    batch = later.batch(frames, np.arange(6), torch.Generator().manual_seed(0))
    loss = later(batch)
    torch.testing.assert_close(loss.total, 0.1 * loss.parts["classes"] + 0.9 * loss.parts["hoc"])
    assert torch.equal(later.encoder.encode(batch["views"]), later.old.encode(batch["views"]))
    assert later.encoder.training
    assert not later.old.training
    assert not any(p.requires_grad for p in later.old.parameters())
    assert all(p.requires_grad for p in later.encoder.parameters())
    reverse = DSimplexEncoder(torch.nn.Identity(), 7, 8, from_end=True)
    assert reverse.vertices_of(torch.tensor([0, 2])).tolist() == [7, 5]
    with pytest.raises(ValueError, match="old: expected K 9 and from_end False, found 8 and False"):
        new(Config(num_classes=9, old=str(tmp_path)), frames, seed=1)
    with pytest.raises(ValueError, match="num_classes: expected at least the 3 of the frames, found 2"):
        new(Config(num_classes=2), frames, seed=1)
    with pytest.raises(ValueError, match="old: expected an encoder of d_simplex, found SmallEncoder"):
        new(Config(num_classes=8, old=str(tmp_path / "backbone")), frames, seed=1)


@pytest.mark.parametrize("form", ["torch", "safetensors"])
def test_published_networks_are_read_under_their_names(form, tmp_path):
    tower = TowerEncoder(RELEASED_TOWER, SYSTEM).tower
    state = {f"backbone.{name.replace('layer1.', 'layer1.blocks.')}": v for name, v in tower.state_dict().items()}
    state |= {"fc1.weight": drawn(9, 512), "fc2.weight": simplex_vertices(10)}
    path = tmp_path / ("net.safetensors" if form == "safetensors" else "net.pt")
    if form == "torch":
        torch.save({"net": state, "epoch": 3}, path)
    else:
        save_file(state, path)
    encoder = load_released(path)
    assert encoder.width == 9
    assert torch.equal(encoder.head.projector.weight, state["fc1.weight"])
    assert torch.equal(encoder.backbone.tower.layer1[0].conv1.weight, tower.layer1[0].conv1.weight)
    del state["backbone.conv1.weight"]
    save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(ValueError, match=r"missing=\['backbone\.tower\.conv1\.weight'\]"):
        load_released(tmp_path / "less.safetensors")
    (tmp_path / "other.pt").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="expected tensors of a published network"):
        load_released(tmp_path / "other.pt")


def test_another_training_finds_in_the_old_memory_of_which_nothing_is_rewritten():
    training, held_out = split_digits(0)
    epochs = 20
    old = benchmark.trained(benchmark.untrained(0, False), old_part(training), 0, epochs)
    fresh = benchmark.trained(benchmark.untrained(100, False), training, 100, epochs)
    x, y = old_part(training)
    memory = RelativeMemory(benchmark.VERTICES - 1)
    with torch.no_grad():
        memory.add(old.encode(x[:500]), y[:500].tolist())
        before = memory.digest()
        queries, truth = old_part(held_out)
        hits = [hits[0][0] for hits in memory.query(fresh.encode(queries), 1)]
    assert memory.digest() == before
    assert np.mean(np.array(hits) == truth.numpy()) >= 0.9
