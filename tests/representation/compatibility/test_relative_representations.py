from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks import relative_representations as benchmark
from representation.compatibility.relative_representations import (
    Config,
    RelativeEncoder,
    RelativeLayer,
    RelativeMemory,
    latent_similarity,
    new,
    relative_projection,
    select_anchors,
    stitching_matrix,
)
from representation.data.frames import Frames


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_rotations_and_scales_are_not_seen_and_translations_only_with_a_centre():
    x, anchors = drawn(50, 16), drawn(20, 16, seed=1)
    turn = torch.linalg.qr(drawn(16, 16, seed=2)).Q
    r = relative_projection(x, anchors)
    assert (r - F.cosine_similarity(x[:, None], anchors[None], dim=2)).abs().max() < 1e-6
    assert (r - relative_projection(3.7 * x @ turn, 3.7 * anchors @ turn)).abs().max() < 1e-5
    scale = 0.5 + torch.rand(50, 1, generator=torch.Generator().manual_seed(3))
    assert (r - relative_projection(scale * x, anchors)).abs().max() < 1e-5
    assert (r - relative_projection(x + 1, anchors + 1)).abs().max() > 0.1
    centred = relative_projection(x, anchors, center=True)
    assert (centred - relative_projection(x + 1, anchors + 1, center=True)).abs().max() < 1e-5
    stretch = torch.linspace(0.2, 3, 16)
    assert (r - relative_projection(x * stretch, anchors * stretch)).abs().max() > 0.1


def test_inner_products_are_divided_by_the_root_of_the_width():
    x, anchors = drawn(3, 16), drawn(5, 16, seed=1)
    torch.testing.assert_close(relative_projection(x, anchors, "inner"), x @ anchors.T / 4)


def test_a_change_of_basis_restores_and_sees_no_invertible_map():
    x, anchors = drawn(30, 8), drawn(8, 8, seed=1)
    w = relative_projection(x, anchors, "basis_change")
    assert (w @ anchors - x).abs().max() < 1e-4
    linear = drawn(8, 8, seed=2)
    assert (w - relative_projection(x @ linear, anchors @ linear, "basis_change")).abs().max() < 1e-3
    with pytest.raises(ValueError, match="expected at most 8 for a basis, found 9"):
        relative_projection(x, drawn(9, 8), "basis_change")


def test_bins_are_kept_and_gradients_are_those_without_them():
    anchors, weights = drawn(10, 6, seed=1), drawn(4, 10, seed=2)
    gradients = []
    for bin_size in (0.1, None):
        x = drawn(4, 6).requires_grad_()
        r = RelativeLayer(10, "none", bin_size)(x, anchors)
        if bin_size:
            assert ((r / bin_size).round() - r / bin_size).abs().max() < 1e-5
        (weights * r).sum().backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients)


def test_outputs_are_normalised_as_asked_and_misfits_are_refused():
    x, anchors = drawn(4, 6), drawn(10, 6, seed=1)
    r = relative_projection(x, anchors)
    torch.testing.assert_close(RelativeLayer(10)(x, anchors), F.layer_norm(r, (10,)))
    torch.testing.assert_close(RelativeLayer(10, "l2")(x, anchors), F.normalize(r, dim=1))
    with pytest.raises(ValueError, match="anchors: expected 9, found 10"):
        RelativeLayer(9)(x, anchors)
    with pytest.raises(ValueError, match="output_norm: expected"):
        RelativeLayer(9, "batch")
    with pytest.raises(ValueError, match=r"anchors: expected \(k, d\) for vectors \(4, 6\), found \(10, 5\)"):
        relative_projection(x, anchors[:, :5])


@pytest.mark.parametrize("method", ["uniform", "fps", "kmeans", "stratified"])
def test_anchors_differ_and_repeat_under_a_seed(method):
    latents, labels = drawn(90, 4), torch.arange(90) % 9
    latents[10] = latents[20]
    chosen = select_anchors(latents, 18, method, labels, seed=3)
    assert len(set(chosen.tolist())) == 18
    assert torch.equal(chosen, select_anchors(latents, 18, method, labels, seed=3))
    if method == "uniform":
        assert torch.equal(chosen, chosen.sort().values)
    if method == "stratified":
        assert torch.equal(labels[chosen].bincount(), torch.full((9,), 2))
    if method == "fps":
        spread = [float(torch.pdist(latents[rows]).min()) for rows in (chosen, select_anchors(latents, 18, seed=3))]
        assert spread[0] > spread[1]
    everything = select_anchors(drawn(90, 4, seed=1), 90, method, labels)
    assert sorted(everything.tolist()) == list(range(90))
    with pytest.raises(ValueError, match="expected 1 to 90 anchors"):
        select_anchors(latents, 91, method, labels)


def test_anchors_follow_the_weights_without_gradients_and_are_kept_in_evaluation():
    calls = []

    class Counted(nn.Linear):
        def forward(self, x):
            calls.append(len(x))
            return super().forward(x)

    encoder = RelativeEncoder(Counted(6, 4), drawn(10, 6, seed=1))
    x = drawn(3, 6)
    out = encoder(x)
    assert sorted(calls) == [3, 10]
    out.sum().backward()
    by_hand = Counted(6, 4)
    by_hand.load_state_dict(encoder.backbone.state_dict())
    with torch.no_grad():
        anchors = by_hand(encoder.anchor_inputs)
    relative_projection(by_hand(x), anchors).sum().backward()
    torch.testing.assert_close(encoder.backbone.weight.grad, by_hand.weight.grad)
    encoder.eval()
    with torch.inference_mode():
        kept = encoder(x)
    calls.clear()
    torch.testing.assert_close(encoder(x), kept)
    assert calls == [3]
    with torch.no_grad():
        encoder.backbone.weight.mul_(drawn(4, 6, seed=5))
    encoder(x).sum().backward()
    assert sorted(calls) == [3, 3, 10]
    torch.testing.assert_close(encoder(x), relative_projection(*map(encoder.backbone, (x, encoder.anchor_inputs))))


def test_a_memory_finds_by_cosine_and_takes_another_encoder_without_being_rewritten():
    anchors, x = drawn(12, 5, seed=1), drawn(8, 5)
    turn = torch.linalg.qr(drawn(5, 5, seed=2)).Q
    memory = RelativeMemory(12, anchors)
    memory.add(RelativeEncoder(lambda v: 2 * v, anchors)(x), [f"frame {row}" for row in range(8)])
    before = memory.digest()
    encoder = memory.swap_encoder(lambda v: v @ turn)
    for row, hits in enumerate(memory.query(encoder(x), 3)):
        assert hits[0] == (f"frame {row}", pytest.approx(1.0, abs=1e-5))
        assert len(hits) == 3
        assert hits[0][1] > hits[1][1] >= hits[2][1]
    assert memory.digest() == before
    with pytest.raises(ValueError, match=r"r: expected \(N, 12\), found \(8, 5\)"):
        memory.add(x, list(range(8)))
    with pytest.raises(ValueError, match="payload: expected 8, found 1"):
        memory.add(encoder(x), ["one"])
    with pytest.raises(ValueError, match="expected the anchors to swap an encoder"):
        RelativeMemory(12).swap_encoder(nn.Identity())


def test_similarity_of_spaces_is_full_for_rotations_and_chance_for_strangers():
    a = drawn(200, 16)
    turn = torch.linalg.qr(drawn(16, 16, seed=2)).Q
    anchors = slice(0, 40)
    same = latent_similarity(*(relative_projection(v, v[anchors]) for v in (a, a @ turn)))
    assert same["mrr"] == pytest.approx(1.0)
    assert same["jaccard"] > 0.99
    assert same["cosine"] == pytest.approx(1.0, abs=1e-5)
    strangers = latent_similarity(a, drawn(200, 16, seed=9))
    assert strangers["mrr"] < 0.1
    assert strangers["jaccard"] < 0.1


def test_the_matrix_has_encoders_in_rows_and_heads_in_columns():
    class Chooses(nn.Module):
        def __init__(self, number):
            super().__init__()
            self.number = number

        def forward(self, x):
            return x.roll(self.number, dims=1)

    data = torch.eye(4), torch.arange(4)
    matrix = stitching_matrix([nn.Identity(), Chooses(1)], [nn.Identity(), Chooses(3)], data)
    assert matrix.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_a_later_version_keeps_the_anchors_of_an_earlier_one(tmp_path):
    images = torch.randint(0, 255, (80, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    frames = Frames(images.numpy(), torch.arange(80).numpy())
    config = Config(anchors=10, loss="pictures")
    first = new(config, frames, seed=0)
    first.encoder.save(tmp_path)
    again = new(Config(anchors_of=str(tmp_path), loss="pictures"), frames, seed=1)
    assert torch.equal(again.encoder.anchor_inputs, first.encoder.anchor_inputs)
    batch = again.batch(frames, torch.arange(8).numpy(), torch.Generator().manual_seed(0))
    loss = again(batch)
    torch.testing.assert_close(loss.total, 0.5 + 0.5 * loss.parts["mse"].log())
    with pytest.raises(ValueError, match=r"expected \['label'\]"):
        new(Config(anchors=10), frames, seed=0)
    with pytest.raises(ValueError, match="expected 1 to 80 anchors"):
        new(Config(loss="pictures", anchors=81), frames, seed=0)
    first.encoder.backbone.save(tmp_path / "plain")
    with pytest.raises(ValueError, match="anchors_of: expected an encoder of relative_representations"):
        new(Config(anchors_of=str(tmp_path / "plain"), loss="pictures"), frames, seed=0)


def test_stitched_classifiers_of_digits_stay_right():
    found = benchmark.stitched_classifiers(seed=0, epochs=20)
    assert found["heads own"] > 0.9
    assert found["heads stitched"] > 0.75
