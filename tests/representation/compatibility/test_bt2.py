from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F  # noqa: N812

from representation.compatibility.bt2 import (
    BasisTransform,
    BT2Encoder,
    BT2Output,
    Config,
    bct_loss,
    bt2_loss,
    load_released,
    new,
)
from representation.compatibility.class_prototypes import prototype_cross_entropy
from representation.data.frames import Frames


def drawn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def unit(*shape, seed=0):
    return F.normalize(drawn(*shape, seed=seed), dim=1)


def test_both_matrices_stay_orthogonal_through_training():
    basis = BasisTransform(10, 8, 4, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(basis.parameters(), 1e-2, weight_decay=2**-15)
    p, u, target = unit(32, 10), unit(32, 4, seed=1), drawn(32, 8, seed=2)
    before = basis.p.matrix().detach().clone()
    for step in range(201):
        if step % 100 == 0:
            for matrix in (basis.p.matrix(), basis.q.matrix()):
                assert (matrix.T @ matrix - torch.eye(len(matrix))).abs().max() < 1e-5
        optimizer.zero_grad()
        (basis(p, u).compatible - target).square().mean().backward()
        optimizer.step()
    assert (basis.p.matrix() - before).abs().max() > 0.1


@pytest.mark.parametrize(("dim_new", "dim_old", "extra"), [(8, 12, 6), (12, 8, 3), (8, 12, 4), (8, 8, 2)])
def test_a_mixture_has_one_length_keeps_distances_and_can_be_undone(dim_new, dim_old, extra):
    basis = BasisTransform(dim_new, dim_old, extra, scale=2.0, generator=torch.Generator().manual_seed(0))
    p, u = unit(20, dim_new), unit(20, extra, seed=1)
    compatible, embedding = basis(p, u)
    assert embedding.shape == (20, dim_new + extra)
    assert compatible.shape == (20, dim_old)
    assert torch.equal(embedding[:, :dim_old], compatible)
    assert (embedding.norm(dim=1) - 5**0.5).abs().max() < 1e-5
    parts = torch.cat([u, 2 * p], dim=1)
    torch.testing.assert_close(torch.cdist(embedding, embedding), torch.cdist(parts, parts), atol=1e-5, rtol=0)
    old_part, scaled = basis.inverse(embedding)
    assert (old_part - u).abs().max() < 1e-5
    assert (scaled - 2 * p).abs().max() < 1e-5


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="expected at least dim_old = 12, found 11"):
        BasisTransform(8, 12, 3)
    with pytest.raises(ValueError, match="extra_dims: expected 1 to dim_old = 4, found 5"):
        BT2Encoder(torch.nn.Identity(), 12, 8, 4, 3, extra_dims=5)
    with pytest.raises(ValueError, match="backbone: expected 12 numbers, as no linear map follows it, found 11"):
        BT2Encoder(torch.nn.Identity(), 11, 8, 4, 3, extra_dims=2, project=False)


def test_the_network_is_that_of_the_equations():
    encoder = BT2Encoder(torch.nn.Identity(), 14, 8, 6, 3, extra_dims=4, scale=3.0, project=False)
    f = drawn(5, 14)
    out, head = encoder(f), encoder.head
    p = F.normalize(f[:, :8], dim=1)
    z = F.normalize(f.relu() @ head.old_branch.weight.T + head.old_branch.bias, dim=1)
    u = F.normalize(z[:, :4], dim=1)
    n = torch.cat([u, 3 * p @ head.basis.p.matrix().T], dim=1)
    b = n[:, :6] @ head.basis.q.matrix().T
    torch.testing.assert_close(out.new_part, p)
    torch.testing.assert_close(out.compatible, b)
    torch.testing.assert_close(out.embedding, torch.cat([b, n[:, 6:]], dim=1))
    torch.testing.assert_close(out.logits, p @ head.classifier.weight.T)
    assert torch.equal(encoder.encode(f), out.embedding)


def test_features_that_are_not_negative_reach_parts_of_both_signs_whatever_their_number():
    for feat_dim in (14, 9):
        encoder = BT2Encoder(torch.nn.Identity(), feat_dim, 8, 6, 3, extra_dims=4)
        part = encoder(drawn(50, feat_dim).relu()).new_part
        assert part.min() < 0 < part.max()


def test_terms_are_weighted_and_vanish_where_they_should():
    labels, prototypes = torch.arange(6) % 3, drawn(3, 5)
    old, fresh = unit(6, 5, seed=1), unit(6, 4, seed=2)
    logits = drawn(6, 3, seed=3)
    out = BT2Output(logits, 2.2 * old, fresh, torch.zeros(6, 6))
    loss, parts = bt2_loss(out, labels, old, fresh, prototypes)
    assert parts["off_old"].abs() < 1e-6
    assert parts["off_new"].abs() < 1e-6
    by_prototypes = F.cross_entropy(old @ prototypes.T, labels)
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels) + 10 * by_prototypes)
    other = out._replace(compatible=drawn(6, 5, seed=5), new_part=unit(6, 4, seed=6))
    b = F.normalize(other.compatible, dim=1)
    expected = F.cross_entropy(logits, labels) + 10 * F.cross_entropy(b @ prototypes.T, labels)
    expected = expected + 5 * (1 - (b * old).sum(1).mean()) + (1 - (other.new_part * fresh).sum(1).mean())
    torch.testing.assert_close(bt2_loss(other, labels, old, fresh, prototypes).total, expected)
    bct = bct_loss(logits, other.compatible, labels, prototypes).total
    smoothed = F.cross_entropy(logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(bct, smoothed + 10 * prototype_cross_entropy(b, labels, prototypes, 0.1))


def test_gradients_are_right():
    encoder = BT2Encoder(torch.nn.Identity(), 7, 4, 3, 3, extra_dims=2).double()
    labels, old = torch.arange(4) % 3, drawn(4, 3, seed=1, dtype=torch.float64)
    fresh, prototypes = drawn(4, 4, seed=2, dtype=torch.float64), drawn(3, 3, seed=3, dtype=torch.float64)
    f = drawn(4, 7, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: bt2_loss(encoder(f), labels, old, fresh, prototypes).total, f)


def test_published_networks_are_read_under_their_names(tmp_path):
    width, dim_new, dim_old, classes = 12, 7, 5, 3
    state = {
        "fc3.weight": drawn(dim_old, width, 1, 1),
        "fc3.bias": drawn(dim_old),
        "fc_out.weight": drawn(classes, dim_new),
    }
    for name, size in (("p", dim_new), ("old2", dim_old)):
        state[f"ortholinear_{name}.parametrizations.weight.original"] = drawn(size, size)
        state[f"ortholinear_{name}.parametrizations.weight.0.base"] = torch.linalg.qr(
            drawn(size, size, seed=1)
        ).Q.contiguous()
    for name, value in released_resnet(width).items():
        state[f"resnet.{name}"] = value
    state["resnet.fc.weight"] = drawn(1000, width, 1, 1)
    save_file({f"module.{name}": value for name, value in state.items()}, tmp_path / "bt2.safetensors")
    encoder = load_released(tmp_path / "bt2.safetensors", extra_dims=4, scale=3.0)
    assert encoder.width == dim_new + 4
    assert isinstance(encoder.head.projection, torch.nn.Identity)
    base = state["ortholinear_p.parametrizations.weight.0.base"]
    tangent = state["ortholinear_p.parametrizations.weight.original"].tril()
    skew = tangent - tangent.T
    torch.testing.assert_close(encoder.head.basis.p.matrix(), base @ torch.linalg.matrix_exp(skew), atol=1e-4, rtol=0)
    vectors = encoder.encode(torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(vectors.norm(dim=1), torch.full((2,), 10.0**0.5), atol=1e-4, rtol=0)
    torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "bt2.pt")
    again = load_released(tmp_path / "bt2.pt", extra_dims=4, scale=3.0)
    assert torch.equal(again.head.classifier.weight, state["fc_out.weight"])
    del state["resnet.conv1.weight"]
    save_file(state, tmp_path / "bt2.safetensors")
    with pytest.raises(ValueError, match=r"missing=\['backbone\.tower\.conv1\.weight'\]"):
        load_released(tmp_path / "bt2.safetensors", extra_dims=4)
    del state["fc3.weight"]
    save_file(state, tmp_path / "bt2.safetensors")
    with pytest.raises(ValueError, match="expected a published network of BT2, found another"):
        load_released(tmp_path / "bt2.safetensors", extra_dims=4)


def released_resnet(width):
    """Tensors of torchvision's ResNet-50 without classifier, whose last block ends in `width` channels."""
    state, channels = {"conv1.weight": drawn(64, 3, 7, 7) / 12} | norm("bn1", 64), 64
    for stage, blocks in enumerate((3, 4, 6, 3), 1):
        inner = 64 * 2 ** (stage - 1)
        for block in range(blocks):
            out = width if (stage, block) == (4, 2) else 4 * inner
            name = f"layer{stage}.{block}"
            sizes = ((inner, channels, 1), (inner, inner, 3), (out, inner, 1))
            for number, (a, b, kernel) in enumerate(sizes, 1):
                state[f"{name}.conv{number}.weight"] = drawn(a, b, kernel, kernel) / (b * kernel * kernel) ** 0.5
                state |= norm(f"{name}.bn{number}", a)
            if out != channels:
                state[f"{name}.downsample.0.weight"] = drawn(out, channels, 1, 1) / channels**0.5
                state |= norm(f"{name}.downsample.1", out)
            channels = out
    return state


def norm(name, channels):
    ones, zeros = torch.ones(channels), torch.zeros(channels)
    numbers = {"weight": ones, "bias": zeros, "running_mean": zeros.clone(), "running_var": ones.clone()}
    return {f"{name}.{key}": value for key, value in numbers.items()}


def test_two_encoders_must_be_named():
    frames = Frames(torch.zeros(2, 32, 32, 3, dtype=torch.uint8).numpy(), torch.arange(2).numpy())
    with pytest.raises(ValueError, match="old, new: expected directories of two encoders, found 'a' and ''"):
        new(Config(old="a"), frames, seed=0)
