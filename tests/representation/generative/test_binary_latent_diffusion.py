from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from representation.checkpoint import encoder_key
from representation.generative.binary_latent_diffusion import (
    BernoulliDiffusion,
    BernoulliSchedule,
    BinaryAutoencoder,
    BinaryDenoiser,
    Config,
    DenoiserConfig,
    HammingIndex,
    load,
    new,
    tokens,
    untokened,
)
from representation.generative.binary_latent_diffusion.adversary import (
    PatchDiscriminator,
    adaptive_weight,
    augmented,
    hinge_loss,
)
from representation.registry import module_of
from tests.representation.test_pretrain import colored

KINDS = ("linear", "cos", "sigmoid")
SMALL = Config(resolution=16, channels=8, multipliers=(1, 2), attention=(), features=8, bits=6, total_steps=8, width=16)


@pytest.fixture(scope="module")
def frames():
    return colored(32, 16)


def number(value: float) -> torch.Tensor:
    return torch.tensor([[[float(value)]]], dtype=torch.float64)


@pytest.mark.parametrize("steps", [16, 64, 256])
def test_the_linear_schedule_keeps_a_share_that_falls_evenly(steps):
    schedule, t = BernoulliSchedule(steps), torch.arange(steps + 1)
    torch.testing.assert_close(schedule.k, ((steps - t) / steps).double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_shares_are_the_products_of_steps_and_end_in_fair_coins(kind):
    schedule = BernoulliSchedule(16, kind)
    torch.testing.assert_close(schedule.beta.cumprod(0), schedule.k, atol=1e-6, rtol=0)
    assert (schedule.k.diff() < 0).all()
    assert schedule.k[0] == 1
    for z0 in (0, 1):
        assert schedule.marginal(number(z0), 16).item() == 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_single_steps_together_are_the_closed_form(kind):
    schedule = BernoulliSchedule(16, kind)
    for u, t in itertools.combinations(range(17), 2):
        p = q = number(0.3)
        for step in range(u + 1, t + 1):
            p = schedule.step(p, step)
        assert p.item() == pytest.approx(schedule.between(q, u, t).item(), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_posterior_of_known_bits_is_that_of_bayes(kind):
    rng, schedule = np.random.default_rng(0), BernoulliSchedule(12, kind)
    z0, z_t = torch.from_numpy(rng.integers(0, 2, (2, 500, 1))).double()
    steps = torch.from_numpy(np.sort([rng.choice(13, 2, replace=False) for _ in range(500)], axis=1))
    u, t = steps[:, 0], steps[:, 1]
    first = schedule.marginal(z0, u)
    joint = []
    for z_u, chance in ((0, 1 - first), (1, first)):
        ones = schedule.between(torch.full_like(z0, z_u), u, t)
        joint.append(chance * torch.where(z_t == 1, ones, 1 - ones))
    expected = joint[1] / (joint[0] + joint[1])
    for reverse in ("plugin", "mixture"):
        found = schedule.posterior(z0, z_t, t, u, reverse)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
        other = schedule.posterior(1 - z0, 1 - z_t, t, u, reverse)
        torch.testing.assert_close(found + other, torch.ones_like(found), atol=1e-6, rtol=0)


def test_the_mixture_weighs_the_posteriors_of_both_values():
    schedule = BernoulliSchedule(8)
    one, zero = (schedule.posterior(number(z0), number(1), 5, 2).item() for z0 in (1, 0))
    found = schedule.posterior(number(0.3), number(1), 5, 2, "mixture").item()
    assert found == pytest.approx(0.3 * one + 0.7 * zero)
    assert schedule.posterior(number(0.3), number(1), 5, 0, "mixture").item() == pytest.approx(0.3)


def test_steps_are_visited_evenly_from_the_last_to_the_first():
    schedule = BernoulliSchedule(16)
    assert schedule.visited(4) == [(16, 11), (11, 6), (6, 1), (1, 0)]
    assert schedule.visited() == [(t, t - 1) for t in range(16, 0, -1)]
    assert schedule.visited(1) == [(16, 0)]


ENTROPY = -0.2 * np.log(0.2) - 0.8 * np.log(0.8)


@pytest.mark.parametrize(
    ("reverse", "steps", "expected", "error"),
    [
        *(("mixture", steps, ENTROPY, 1e-9) for steps in (1, 4, 16, 256)),
        *(("plugin", steps, bound, 1e-4) for steps, bound in ((4, 0.5289), (16, 0.6501), (256, 0.7499))),
    ],
)
def test_the_bound_of_the_best_denoiser_of_one_bit_is_its_entropy_if_posteriors_are_mixed(
    reverse, steps, expected, error
):
    diffusion = BernoulliDiffusion(nn.Identity(), BernoulliSchedule(steps))
    z0 = torch.tensor([0.0, 0, 1, 1], dtype=torch.float64).reshape(4, 1, 1)
    z_t = torch.tensor([0.0, 1, 0, 1], dtype=torch.float64).reshape(4, 1, 1)
    chance = 0.8 - 0.6 * z0
    bound = 0.0
    for t, u in diffusion.schedule.visited():
        one, own = (diffusion.schedule.marginal(first, t) for first in (torch.ones_like(z0), z0))
        likely = torch.where(z_t == 1, one, 1 - one)  # of z_t if z0 = 1; the other way round if 0
        p0 = 0.2 * likely / (0.2 * likely + 0.8 * (1 - likely))
        weight = chance * torch.where(z_t == 1, own, 1 - own)
        bound += float((weight * diffusion.gap(z0, z_t, p0, t, u, reverse)).sum())
    assert bound == pytest.approx(expected, abs=error)


class Told(nn.Module):
    """A denoiser that is told the probability of the first bits, and says it or which bits differ."""

    def __init__(self, p: torch.Tensor, flip: bool) -> None:
        super().__init__()
        self.config = DenoiserConfig(3, (2, 1), 8)
        self.p, self.flip = p, flip

    def forward(self, z_t, t, y=None):
        p = torch.where(z_t == 1, 1 - self.p, self.p) if self.flip else self.p.expand_as(z_t)
        return p.logit()


def test_telling_flips_and_telling_bits_draw_alike():
    p = torch.rand(2, 3, generator=torch.Generator().manual_seed(0))
    flip, plain = (BernoulliDiffusion(Told(p, kind == "flip"), BernoulliSchedule(8), kind) for kind in ("flip", "x0"))
    z_t = (torch.rand(40, 2, 3, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    for t in range(1, 9):
        torch.testing.assert_close(flip.predicted(z_t, t), plain.predicted(z_t, t), atol=1e-6, rtol=0)
        torch.testing.assert_close(plain.predicted(z_t, t), p.expand_as(z_t), atol=1e-6, rtol=0)


def test_known_bits_stay_and_the_last_step_takes_the_likelier_value():
    p = torch.tensor([[0.9, 0.1, 0.6], [0.2, 0.8, 0.4]])
    diffusion = BernoulliDiffusion(Told(p, False), BernoulliSchedule(8), "x0")
    drawn = diffusion.sample(5, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(drawn, (p > 0.5).to(torch.uint8).expand(5, 2, 3))
    known, mask = torch.ones(2, 3), torch.tensor([[True, True, False], [True, False, False]])
    kept = diffusion.sample(5, 4, known=known, mask=mask, generator=torch.Generator().manual_seed(0))
    assert torch.equal(kept[0], torch.tensor([[1, 1, 1], [1, 1, 0]], dtype=torch.uint8))


def small_prior(**options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        denoiser = BinaryDenoiser(DenoiserConfig(8, (8, 1), 16, 32, 2, 2, options.pop("classes", 0)))
    return BernoulliDiffusion(denoiser, BernoulliSchedule(16), **options)


@pytest.mark.parametrize(
    "options",
    [
        {"aux": 0.0},
        {"predict": "x0"},
        {"focal": 2.0, "balance": False},
        {"time_weight": "weighted"},
        {"reverse": "mixture"},
    ],
)
def test_every_loss_is_finite_and_reaches_all_weights(options):
    prior = small_prior(**options)
    z0 = (torch.rand(12, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    prior.loss(z0, generator=torch.Generator().manual_seed(1)).total.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in prior.parameters())


def test_a_sample_of_which_nothing_flipped_still_counts():
    prior = small_prior(aux=0.0)
    z0 = torch.ones(2, 8, 8)
    assert prior.loss_at(z0, torch.tensor([1, 1]), torch.zeros(2, 8, 8)).total > 1e-3


def test_guidance_draws_a_class_further():
    prior = small_prior(classes=3).eval()
    z_t, y = torch.ones(4, 8, 8), torch.tensor([0, 1, 2, 0])
    none, some, more = (prior.predicted(z_t, 5, y, guidance=g).logit() for g in (0.0, 1.0, 2.0))
    torch.testing.assert_close(more - some, some - none, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(none, prior.predicted(z_t, 5).logit(), atol=1e-4)
    with pytest.raises(ValueError, match="y: expected classes from 0 to 2"):
        prior.predicted(z_t, 5, y + 2)


def test_a_prior_learns_which_bits_go_together_and_completes_them():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        denoiser = BinaryDenoiser(DenoiserConfig(4, (2, 2), 8, 32, 1, 2))
    prior = BernoulliDiffusion(denoiser, BernoulliSchedule(8), "x0", aux=0.0, balance=False)
    generator = torch.Generator().manual_seed(0)
    one = (torch.rand(4, 4, generator=generator) < 0.5).float()
    both = torch.stack([one, 1 - one])
    optimizer = torch.optim.Adam(prior.parameters(), 1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        prior.loss(both.repeat(16, 1, 1), generator=generator).total.backward()
        optimizer.step()
    prior.eval()
    strange = both.clone()
    strange[:, 2:] = 1 - strange[:, 2:]
    usual, other = (prior.elbo(z, generator=torch.Generator().manual_seed(1)).mean() for z in (both, strange))
    assert usual > 16 * np.log(0.5) / 2
    assert usual > other + 5
    mask = torch.zeros(4, 4)
    mask[:2] = 1
    found = prior.sample(2, 8, known=both, mask=mask, generator=generator)
    assert (found == both).float().mean() > 0.9


def test_bits_are_packed_and_come_back_whatever_their_number():
    model = BinaryAutoencoder(dataclasses.replace(SMALL, multipliers=(1, 1, 1, 1), bits=5))
    bits = torch.randint(2, (7, 5, 2, 2), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    packed = model.pack(bits)
    assert packed.shape == (7, 3)
    assert torch.equal(model.unpack(packed), bits)
    with pytest.raises(ValueError, match=r"packed: expected \(B, 3\) uint8, found \(7, 4\)"):
        model.unpack(torch.zeros(7, 4, dtype=torch.uint8))


def test_vectors_have_the_signs_of_the_bits_and_gradients_pass_them_by(frames):
    objective = new(SMALL, frames, 0)
    encoder, x = objective.encoder, frames.pixels(np.arange(8))
    bits = encoder.bits(x)
    assert torch.equal(bits.flatten(1), (encoder.encode(x) > 0).to(torch.uint8))
    pictures, probabilities = encoder.autoencoder(x)
    torch.testing.assert_close(pictures.clamp(0, 1), encoder.autoencoder.decode(bits), atol=1e-5, rtol=1e-5)
    pictures.sum().backward()
    assert encoder.autoencoder.proj.weight.grad.abs().sum() > 0
    assert 0 < float(probabilities.detach().min()) < float(probabilities.detach().max()) < 1
    assert torch.equal(untokened(tokens(bits), SMALL), bits)


def test_bits_are_drawn_by_their_probabilities():
    model = BinaryAutoencoder(SMALL)
    x = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).expand(400, 3, 16, 16)
    with torch.no_grad():
        p = model.probabilities(x[:1])[0]
    share = model.encode(x, sample=True, generator=torch.Generator().manual_seed(1)).float().mean(dim=0)
    assert (share - p).abs().max() < 0.13
    assert (share - p).abs().mean() < 0.03


def test_pictures_come_back_after_a_little_training(frames):
    objective = new(dataclasses.replace(SMALL, norm_first=True, signed=True, attention=(8,)), frames, 0)
    generator, losses = torch.Generator().manual_seed(0), []
    optimizer = torch.optim.Adam(objective.parameters(), 1e-2)
    for _ in range(25):
        optimizer.zero_grad()
        loss = objective(objective.batch(frames, np.arange(16), generator))
        loss.total.backward()
        optimizer.step()
        losses.append(loss.parts["reconstruction"].item())
    assert losses[-1] < 0.6 * losses[0]


def test_the_discriminator_begins_when_it_should_and_is_not_moved_by_the_autoencoder(frames):
    config = dataclasses.replace(SMALL, resolution=32, multipliers=(1, 1, 1), adversarial_start=1)
    objective = new(dataclasses.replace(config, discriminator_channels=4), frames, 0)
    found = []
    for _ in range(2):
        objective.zero_grad()
        objective(objective.batch(frames, np.arange(4), torch.Generator().manual_seed(0))).total.backward()
        found.append(float(sum(p.grad.abs().sum() for p in objective.discriminator.parameters())))
    assert found[0] == 0 < found[1]
    objective.zero_grad()
    x = frames.pixels(np.arange(2)).repeat(1, 1, 2, 2).requires_grad_()
    objective.discriminator.frozen(x).sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in objective.discriminator.parameters())
    assert x.grad.abs().sum() > 0


def test_parts_of_the_adversarial_loss_are_what_they_are_by_hand():
    assert float(hinge_loss(torch.tensor([2.0, 0.0]), torch.tensor([-3.0, 1.0]))) == pytest.approx((0.5 + 1.0) / 2)
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    found = adaptive_weight((weight * torch.tensor([3.0, 4.0])).sum(), 10 * weight.sum(), weight)
    assert float(found) == pytest.approx(5 / 200**0.5, rel=1e-4)
    x = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    draws = torch.full((3, 5), 0.5)
    torch.testing.assert_close(augmented(x, draws), x)
    moved = augmented(x, torch.cat([draws[:, :3], torch.tensor([[0.99, 0.5]] * 3)], dim=1))
    torch.testing.assert_close(moved[:, :, :14], x[:, :, 2:])
    assert not moved[:, :, 14:].any()
    assert PatchDiscriminator(4)(torch.rand(2, 3, 32, 32)).shape == (2, 1, 2, 2)


def test_features_of_another_encoder_are_to_come_back_too(frames, tmp_path):
    other = module_of("mixed_barlow_twins")
    other.new(other.Config(), frames, 0).encoder.save(tmp_path / "other")
    objective = new(dataclasses.replace(SMALL, perceptual=str(tmp_path / "other")), frames, 0)
    loss = objective(objective.batch(frames, np.arange(4), torch.Generator().manual_seed(0)))
    torch.testing.assert_close(loss.total, loss.parts["reconstruction"] + loss.parts["perceptual"])
    new(SMALL, frames, 0).encoder.save(tmp_path / "bits")
    with pytest.raises(ValueError, match="perceptual: expected an encoder of places, found BinaryEncoder"):
        new(dataclasses.replace(SMALL, perceptual=str(tmp_path / "bits")), frames, 0)


def test_a_prior_learns_from_the_bits_of_its_tokenizer_and_comes_back_with_them(frames, tmp_path):
    new(SMALL, frames, 3).encoder.save(tmp_path / "bits")
    config = Config(tokenizer=str(tmp_path / "bits"), total_steps=8, width=16, layers=1, classes=4)
    objective = new(config, frames, 0)
    batch = objective.batch(frames, np.arange(8), torch.Generator().manual_seed(0))
    objective(batch).total.backward()
    trained = {name for name, p in objective.named_parameters() if p.grad is not None}
    assert trained == {name for name, _ in objective.named_parameters() if name.startswith("encoder.prior.")}
    objective.encoder.save(tmp_path / "prior")
    again = load(tmp_path / "prior")
    assert again.bits_of == encoder_key(tmp_path / "bits")
    assert (again.config.resolution, again.config.bits) == (16, 6)
    x = frames.pixels(np.arange(4))
    assert torch.equal(again.bits(x), load(tmp_path / "bits").bits(x))
    drawn = again.needed_prior().sample(2, 4, y=torch.tensor([0, 3]), guidance=1.0)
    assert again.autoencoder.decode(untokened(drawn, again.config)).shape == (2, 3, 16, 16)
    with pytest.raises(ValueError, match="found one with a prior"):
        new(dataclasses.replace(config, tokenizer=str(tmp_path / "prior")), frames, 0)
    with pytest.raises(ValueError, match="classes: expected labels below 3, found 3"):
        new(dataclasses.replace(config, classes=3), frames, 0)
    with pytest.raises(ValueError, match="expected a prior over the bits"):
        load(tmp_path / "bits").needed_prior()


def test_the_index_finds_noisy_bits_and_counts_what_differs():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (300, 512), dtype=np.uint8)
    index = HammingIndex()
    for place, row in enumerate(bits):
        index.add(str(place), np.packbits(row))
    noisy = bits ^ (rng.random(bits.shape) < 0.03)
    right = 0
    for place, row in enumerate(noisy):
        ids, distances = index.query(np.packbits(row), 3)
        right += ids[0] == str(place)
        assert distances.tolist() == sorted((bits != row).sum(axis=1))[:3]
    assert right >= 297
    with pytest.raises(ValueError, match="packed: expected 64 bytes, found 63"):
        index.query(np.zeros(63, np.uint8), 1)
    with pytest.raises(ValueError, match="expected a new one, found '7' again"):
        index.add("7", np.packbits(bits[7]))
    with pytest.raises(ValueError, match="expected at least 1 and rows"):
        HammingIndex().query(np.zeros(64, np.uint8), 1)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: BernoulliSchedule(0), "T: expected at least 1"),
        (lambda: BernoulliSchedule(4, "square"), "kind: expected one of linear, cos, sigmoid, found 'square'"),
        (lambda: BernoulliSchedule(4).posterior(number(1), number(1), 2, 2), "expected a step from 0 to t - 1"),
        (lambda: BernoulliSchedule(4).posterior(number(1), number(1), 2, 1, "x"), "reverse: expected one of"),
        (lambda: BernoulliSchedule(4).visited(5), "steps: expected 1 to 4, found 5"),
        (lambda: BernoulliDiffusion(nn.Identity(), BernoulliSchedule(4), "noise"), "predict: expected one of"),
        (lambda: small_prior().loss(torch.full((2, 8, 8), 0.5)), "bits: expected 0 and 1"),
        (lambda: small_prior().elbo(torch.zeros(2, 8, 7)), r"bits: expected \(B, 8, 8\), found \(2, 8, 7\)"),
        (lambda: small_prior().sample(2, known=torch.zeros(8, 8)), "known, mask: expected both or none"),
        (lambda: small_prior().sample(2, known=torch.zeros(8), mask=torch.zeros(8)), r"known: expected \(2, 8, 8\)"),
        (lambda: small_prior().sample(2, guidance=1.0), "expected > 0, and classes"),
        (lambda: BinaryAutoencoder(SMALL).encode(torch.zeros(1, 3, 8, 8)), r"x: expected pictures \(B, 3, 16, 16\)"),
        (lambda: BinaryAutoencoder(SMALL).encode(torch.full((1, 3, 16, 16), torch.nan)), "expected finite"),
        (lambda: BinaryAutoencoder(SMALL).decode(torch.full((1, 6, 8, 8), 2)), "bits: expected 0 and 1"),
        (lambda: BinaryAutoencoder(SMALL).decode(torch.zeros(1, 5, 8, 8)), r"bits: expected \(B, 6, 8, 8\)"),
        (lambda: Config(resolution=30), "resolution: expected a multiple of 4"),
        (lambda: DenoiserConfig(8, (8, 1), width=30), "width: expected a multiple of 4"),
    ],
)
def test_what_is_wrong_is_refused(call, reason):
    with pytest.raises(ValueError, match=reason):
        call()
