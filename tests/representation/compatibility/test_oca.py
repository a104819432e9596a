from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks import oca as benchmark
from representation.benchmarks.digit_encoders import retrieval
from representation.compatibility.class_prototypes import read_prototypes, write_prototypes
from representation.compatibility.oca import Config, HeadConfig, OCAEncoder, OCAHead, new, oca_loss
from representation.data.frames import Frames


def drawn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def small(**settings):
    generator = torch.Generator().manual_seed(0)
    return OCAEncoder(torch.nn.Identity(), 6, 5, 3, 4, generator, **settings)


def test_the_embedding_has_unit_length_and_its_first_numbers_are_the_compatible_part():
    out = small()(drawn(7, 6))
    assert out.embedding.shape == out.rotated.shape == (7, 8)
    assert (out.embedding.norm(dim=1) - 1).abs().max() < 1e-6
    assert torch.equal(out.compatible, out.embedding[:, :5])
    assert out.compatible.data_ptr() == out.embedding.data_ptr()
    assert torch.equal(small().encode(drawn(7, 6)), out.embedding)


@pytest.mark.parametrize("feat_dim", [8, 6])
def test_features_that_are_not_negative_reach_embeddings_of_both_signs(feat_dim):
    encoder = OCAEncoder(torch.nn.Identity(), feat_dim, 5, 3, 4, torch.Generator().manual_seed(0))
    embedding = encoder.encode(drawn(50, feat_dim).relu())
    assert embedding.min() < 0 < embedding.max()
    with pytest.raises(ValueError, match="backbone: expected 8 numbers, as no linear map follows it, found 7"):
        OCAEncoder(torch.nn.Identity(), 7, 5, 3, 4, project=False)


@pytest.mark.parametrize("parametrization", ["matrix_exp", "cayley"])
def test_the_rotation_keeps_distances_and_its_bias_does_not_keep_angles(parametrization):
    encoder = small(parametrization=parametrization)
    torch.nn.init.normal_(encoder.head.rotation.bias, generator=torch.Generator().manual_seed(1))
    out = encoder(drawn(7, 6))
    distances = [torch.cdist(v, v) for v in (out.embedding, out.rotated)]
    torch.testing.assert_close(*distances, atol=1e-5, rtol=0)
    turned = out.rotated - encoder.head.rotation.bias
    torch.testing.assert_close(turned @ turned.T, out.embedding @ out.embedding.T, atol=1e-5, rtol=0)
    assert (out.rotated @ out.rotated.T - out.embedding @ out.embedding.T).abs().max() > 0.1
    assert torch.equal(small(rotate=False)(drawn(7, 6)).rotated, small(rotate=False)(drawn(7, 6)).embedding)


def test_the_loss_is_the_weighted_sum_with_label_smoothing_as_written_out():
    out, labels, prototypes = small()(drawn(7, 6)), torch.arange(7) % 4, drawn(4, 5, seed=2)

    def smoothed(logits):
        log_p = logits.log_softmax(dim=1)
        own = log_p[torch.arange(7), labels]
        return -(0.9 * own + 0.1 * log_p.mean(dim=1)).mean()

    compatible = F.normalize(out.compatible, dim=1)
    cosine = (F.normalize(prototypes, dim=1)[labels] * compatible).sum(dim=1).mean()
    expected = 5 * smoothed(out.logits) + 10 * smoothed(compatible @ prototypes.T) + 5 * (1 - cosine)
    loss, parts = oca_loss(out, labels, prototypes)
    assert abs(loss - expected) < 1e-5
    assert set(parts) == {"classes", "classes_by_prototypes", "off_prototype"}
    along = out._replace(compatible=0.3 * prototypes[labels])
    assert oca_loss(along, labels, prototypes)[1]["off_prototype"].abs() < 1e-6
    assert abs(oca_loss(out, labels, None)[0] - smoothed(out.logits)) < 1e-6


@pytest.mark.parametrize("parametrization", ["matrix_exp", "cayley"])
def test_gradients_are_right_through_the_rotation(parametrization):
    head = OCAHead(6, HeadConfig(4, 2, 3, parametrization=parametrization)).double()
    x, labels, prototypes = drawn(5, 6, dtype=torch.float64), torch.arange(5) % 3, drawn(3, 4, dtype=torch.float64)
    original = head.rotation.parametrizations.weight.original.detach().clone()
    name = "rotation.parametrizations.weight.original"

    def loss(x, tangent):
        out = torch.func.functional_call(head, {name: tangent}, (x,))
        return oca_loss(out, labels, prototypes)[0]

    moved = original + 0.1 * drawn(6, 6, seed=4, dtype=torch.float64).tril(-1)
    assert torch.autograd.gradcheck(loss, (x.requires_grad_(), moved.requires_grad_()))


def test_prototypes_come_back_and_other_files_are_refused(tmp_path):
    prototypes = drawn(3, 4)
    write_prototypes(prototypes, tmp_path / "p.safetensors")
    assert torch.equal(read_prototypes(tmp_path / "p.safetensors"), prototypes)
    write_prototypes(prototypes / 0, tmp_path / "p.safetensors")
    with pytest.raises(ValueError, match=r"expected finite prototypes \(C, d\)"):
        read_prototypes(tmp_path / "p.safetensors")
    (tmp_path / "p.safetensors").write_text("{}")
    with pytest.raises(ValueError, match="expected a file of 'prototypes'"):
        read_prototypes(tmp_path / "p.safetensors")


def test_a_later_version_is_wider_and_knows_the_old_classes_alone(tmp_path):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (24, 32, 32, 3), dtype=torch.uint8, generator=generator).numpy()
    labels = (torch.arange(24) % 3).numpy()
    frames = Frames(images, labels, {"label": labels})
    first = new(Config(dim=8), frames, seed=0)
    assert first.encoder.width == 8
    first.encoder.save(tmp_path / "old")
    later = new(Config(old=str(tmp_path / "old"), extra_dims=4), frames, seed=1)
    assert later.encoder.width == 12
    assert later.prototypes.shape == (3, 8)
    write_prototypes(later.prototypes[:2], tmp_path / "p.safetensors")
    known = new(Config(prototypes=str(tmp_path / "p.safetensors"), extra_dims=4), frames, seed=1)
    assert torch.equal(known.prototypes[:2], later.prototypes[:2])
    assert not known.prototypes[2].any()
    with pytest.raises(ValueError, match="old, prototypes: expected one of them"):
        new(Config(old="a", prototypes="b"), frames, seed=0)


def test_new_queries_find_in_the_old_memory_and_not_by_what_the_classifier_sees():
    between = benchmark.versions(seed=0, epochs=15)
    encoder = benchmark.trained_oca(between, between.prototypes, 0, 15)
    old, digits = between.old.encode, between.held_out
    old_queries, new_queries = (retrieval(encode, old, digits)["mAP"] for encode in (old, encoder.encode))
    assert new_queries > old_queries
    assert retrieval(between.independent.encode, old, digits)["mAP"] < 0.2
    assert retrieval(lambda x: encoder(x).rotated, old, digits)["top1"] < 0.5
    in_a_new_memory = retrieval(encoder.encode, encoder.encode, digits)["mAP"]
    assert in_a_new_memory > 0.85

    def turned(x):
        return encoder(x).rotated - encoder.head.rotation.bias

    assert abs(retrieval(turned, turned, digits)["mAP"] - in_a_new_memory) < 1e-4
