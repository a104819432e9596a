from __future__ import annotations

import numpy as np
import pytest
import torch

from representation.generative.qlae import QLAE, Config, ScalarQuantizer, infomec, mutual_information_gap, new
from representation.generative.qlae.quantizer import commitment_loss, quantization_loss
from representation.training import LoopConfig, build_optimizer


@pytest.fixture(scope="module")
def sources():
    return np.random.default_rng(0).integers(0, 4, (3000, 3))


def scores(found):
    return found.infom, found.infoe, found.infoc


def test_infomec_of_latents_that_are_the_sources_is_one(sources):
    assert scores(infomec(sources, sources, True)) == pytest.approx((0.996, 1.0, 0.996), abs=0.01)


def test_two_latents_of_each_source_are_as_modular_and_less_compact(sources):
    found = infomec(sources, np.concatenate([sources, sources], axis=1), True)
    assert scores(found) == pytest.approx((0.996, 1.0, 0.399), abs=0.01)


def test_latents_that_never_change_do_not_count(sources):
    found = infomec(sources, np.concatenate([sources, np.zeros((3000, 2))], axis=1), True)
    assert scores(found) == pytest.approx((0.996, 1.0, 0.996), abs=0.01)
    assert found.active.tolist() == [True] * 3 + [False] * 2
    assert not found.nmi[:, 3:].any()


def test_continuous_latents_are_measured_by_their_neighbours(sources):
    rng = np.random.default_rng(1)
    found = infomec(sources, sources + rng.normal(0, 0.05, sources.shape), False)
    assert scores(found) == pytest.approx((0.997, 1.0, 0.997), abs=0.01)
    turned = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    assert scores(infomec(sources, sources @ turned, False)) == pytest.approx((0.0, 1.0, 0.0), abs=0.01)


def test_useless_latents_tell_nothing_though_their_modularity_is_not_zero(sources):
    found = infomec(sources, np.random.default_rng(2).integers(0, 4, sources.shape), True)
    assert found.infoe == pytest.approx(0.004, abs=0.01)
    assert 0.05 < found.infom < 0.4


def test_names_of_values_and_order_of_latents_do_not_matter(sources):
    rng = np.random.default_rng(3)
    latents = (sources + rng.integers(0, 2, sources.shape)) % 4
    first = infomec(sources, latents, True)
    moved = infomec(sources, np.exp(0.7 * latents[:, [2, 0, 1]]) - 3, True)
    assert scores(moved)[::2] == pytest.approx(scores(first)[::2], abs=1e-12)
    assert moved.infoe == pytest.approx(first.infoe, abs=1e-6)
    np.testing.assert_allclose(moved.nmi, first.nmi[:, [2, 0, 1]], atol=1e-12)


def test_the_gap_is_the_mean_distance_of_the_two_largest():
    nmi = [[0.9, 0.4, 0.1], [0.2, 0.3, 0.0]]
    assert mutual_information_gap(nmi, [True] * 3, axis=1) == pytest.approx((0.5 + 0.1) / 2)
    assert mutual_information_gap(nmi, [True, False, True], axis=0) == pytest.approx((0.7 + 0.1) / 2)
    with pytest.raises(ValueError, match="two or more along axis 1"):
        mutual_information_gap(nmi, [True, False, False], axis=1)


def test_what_cannot_be_measured_is_refused(sources):
    with pytest.raises(ValueError, match="expected several values of each, found one of source 1"):
        infomec(np.stack([sources[:, 0], np.ones(3000)], axis=1), sources, True)
    with pytest.raises(ValueError, match="latents: expected one that varies"):
        infomec(sources, np.ones((3000, 2)), True)
    with pytest.raises(ValueError, match="latents: expected finite"):
        infomec(sources, np.full((3000, 2), np.nan), False)
    with pytest.raises(ValueError, match=r"expected \(N, S\) and \(N, Z\)"):
        infomec(sources, sources[:5], True)


def test_rounding_twice_is_rounding_once_and_gradients_pass_it_by():
    quantizer, generator = ScalarQuantizer(5, [2, 3, 10, 4, 1]), torch.Generator().manual_seed(0)
    z = torch.randn(40, 5, generator=generator).requires_grad_()
    straight, scalars, codes = quantizer(z)
    straight.sum().backward()
    assert torch.equal(z.grad, torch.ones_like(z))
    torch.testing.assert_close(straight, scalars)
    assert torch.equal(quantizer(scalars).codes, codes)
    assert torch.equal(quantizer.embed(codes), scalars)
    for latent, size in enumerate(quantizer.sizes):
        choices = quantizer.values[latent, :size]
        nearest = (z[:, latent, None] - choices).abs().argmin(1)
        assert torch.equal(codes[:, latent], nearest)


def test_one_loss_moves_the_scalars_alone_and_the_other_the_latents_alone():
    quantizer = ScalarQuantizer(3, 4).double()
    z = torch.randn(10, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    scalars = quantizer(z).scalars
    commitment_loss(z, scalars).mean().backward()
    assert quantizer.values.grad is None
    assert z.grad.abs().sum() > 0
    z.grad = None
    quantization_loss(z, scalars).mean().backward()
    assert z.grad is None
    found, change = quantizer.values.grad.clone(), 1e-5
    numeric = torch.zeros_like(found)
    with torch.no_grad():
        for place in np.ndindex(*found.shape):
            ends = []
            for sign in (1, -1):
                quantizer.values[place] += sign * change
                ends.append(quantization_loss(z, quantizer(z).scalars).mean())
                quantizer.values[place] -= sign * change
            numeric[place] = (ends[0] - ends[1]) / (2 * change)
    torch.testing.assert_close(found, numeric, atol=1e-4, rtol=1e-4)


def test_neither_biases_nor_scalars_decay():
    model = new(Config(resolution=16, channels=4), None, 0)
    optimizer = build_optimizer(model, LoopConfig(output=None, lr=0.01, weight_decay=0.5, betas=(0.8, 0.99)))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    shrunk = 0
    for name, value in model.named_parameters():
        kept = name.endswith("bias") or ".quantizer." in name
        torch.testing.assert_close(value.detach(), before[name] * (1.0 if kept else 1 - 0.01 * 0.5))
        shrunk += not kept
    assert shrunk > 10
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(before)
    assert {group["betas"] for group in optimizer.param_groups} == {(0.8, 0.99)}


def model(arch="dense", **settings):
    shape = (1, 6, 6) if arch == "dense" else (3, 16, 16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return QLAE(shape, 4, 3, arch, width=8, **settings).eval()


@pytest.mark.parametrize("arch", ["dense", "image"])
def test_what_comes_back_depends_on_the_codes_alone(arch):
    autoencoder = model(arch)
    x = torch.rand(30, *autoencoder.in_shape, generator=torch.Generator().manual_seed(0))
    codes = autoencoder.encode(x)
    assert codes.min() >= 0
    assert codes.max() <= 2
    torch.testing.assert_close(autoencoder.decode(codes), autoencoder.reconstruct(x), atol=1e-6, rtol=1e-5)
    traversed = autoencoder.traverse(x[:2], 1)
    assert traversed.shape == (2, 3, *autoencoder.in_shape)
    torch.testing.assert_close(traversed[0, codes[0, 1]], autoencoder.reconstruct(x[:1])[0], atol=1e-6, rtol=1e-5)


def test_codes_that_there_are_not_are_refused():
    autoencoder = model()
    with pytest.raises(ValueError, match="latent 2: expected 0 to 2"):
        autoencoder.decode(torch.tensor([[0, 1, 3, 0]]))
    with pytest.raises(ValueError, match="expected 4 latents, found 3"):
        autoencoder.decode(torch.zeros(1, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="j: expected a latent from 0 to 3"):
        autoencoder.traverse(torch.zeros(1, 1, 6, 6), 4)
    with pytest.raises(ValueError, match=r"x: expected \(B, 1, 6, 6\)"):
        autoencoder.loss(torch.zeros(1, 6, 6))
    with pytest.raises(ValueError, match="expected quantised latents"):
        QLAE((1, 6, 6), 4, 0, "dense", width=8).encode(torch.zeros(1, 1, 6, 6))
    with pytest.raises(ValueError, match="side: expected 16, 32 or 64"):
        QLAE((3, 48, 48), 4)
    with pytest.raises(ValueError, match="values: expected at least 2"):
        Config(values=1)


def test_training_brings_pictures_back():
    x = torch.zeros(16, 1, 6, 6)
    for number in range(16):
        x[number, :, number % 4 : number % 4 + 2, number // 4 : number // 4 + 2] = 1
    autoencoder = model()
    before = float(autoencoder.loss(x).parts["reconstruction"])
    optimizer = torch.optim.AdamW(autoencoder.param_groups(0.01), 1e-2)
    for _ in range(300):
        loss = autoencoder.loss(x).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(autoencoder.loss(x).parts["reconstruction"]) < 0.5 * before
    assert len(torch.unique(autoencoder.encode(x), dim=0)) > 6
