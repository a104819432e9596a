from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from policies.rdt.config import RDTConfig
from policies.rdt.network import build_model
from policies.rdt.objective import Noise, Targets, diffusion_loss, draw
from tests.policies.rdt.conftest import conditions_of, random_inputs, random_model


def make_targets(inputs):
    batch, rows = inputs["noise"].shape[:2]
    slots = inputs["mask"].expand(batch, -1)
    actions = torch.randn(batch, rows, 128, generator=torch.Generator().manual_seed(7)) * inputs["mask"]
    return Targets(inputs["state"], actions, slots, slots, inputs["frequency"])


def test_a_network_that_predicts_zero_has_the_power_of_the_actions_as_its_loss():
    model = build_model(RDTConfig.tiny(), 0)
    inputs = random_inputs(model.config)
    targets = make_targets(inputs)
    random = draw(targets, 1000, torch.Generator().manual_seed(0))
    loss = diffusion_loss(model, targets, conditions_of(model, inputs), random)
    torch.testing.assert_close(loss, targets.actions.square().mean())
    masked = diffusion_loss(model, targets, conditions_of(model, inputs), random, masked=True)
    torch.testing.assert_close(masked, loss * 128 / 4)


def test_a_dropped_mask_hides_the_slots_from_the_network_and_not_from_the_masked_loss():
    model = build_model(RDTConfig.tiny(), 0)
    inputs = random_inputs(model.config)
    targets = make_targets(inputs)
    random = draw(targets, 1000, torch.Generator().manual_seed(0))
    dropped = replace(targets, mask=torch.zeros_like(targets.mask))
    conditions = conditions_of(model, inputs)
    whole, hidden = (diffusion_loss(model, t, conditions, random, masked=True) for t in (targets, dropped))
    torch.testing.assert_close(whole, hidden)


def test_a_prediction_of_noise_is_compared_with_the_noise():
    model = build_model(replace(RDTConfig.tiny(), prediction_type="epsilon"), 0)
    inputs = random_inputs(model.config)
    targets = make_targets(inputs)
    random = draw(targets, 1000, torch.Generator().manual_seed(0))
    loss = diffusion_loss(model, targets, conditions_of(model, inputs), random)
    torch.testing.assert_close(loss, random.noise.square().mean())


def test_rows_that_are_given_are_not_learned():
    model = random_model(config=replace(RDTConfig.tiny(), clean_prefix=True))
    inputs = random_inputs(model.config)
    targets = make_targets(inputs)
    noise, steps = inputs["noise"], torch.tensor([100, 900])
    delays = torch.tensor([3, 3])
    conditions = conditions_of(model, inputs)

    def loss(change_noise):
        noisy = noise.clone()
        noisy[:, :3] += change_noise
        return diffusion_loss(model, targets, conditions, Noise(noisy, steps, delays))

    torch.testing.assert_close(loss(0.0), loss(5.0), atol=1e-6, rtol=0)
    all_rows = diffusion_loss(model, targets, conditions, Noise(noise, steps))
    assert (all_rows - loss(0.0)).abs() > 1e-4
    with pytest.raises(ValueError, match="clean_prefix"):
        diffusion_loss(random_model(), targets, conditions, Noise(noise, steps, delays))


def test_what_is_drawn_comes_from_the_generator_and_delays_stay_in_range():
    inputs = random_inputs(RDTConfig.tiny(), batch=200)
    targets = make_targets(inputs)
    first, second = (draw(targets, 1000, torch.Generator().manual_seed(1), max_delay=4) for _ in range(2))
    assert torch.equal(first.noise, second.noise)
    assert torch.equal(first.timesteps, second.timesteps)
    assert set(first.delays.tolist()) == {0, 1, 2, 3, 4}
    assert first.timesteps.min() >= 0
    assert first.timesteps.max() < 1000
