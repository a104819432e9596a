"""Training losses of RDT: the published one over all 128 slots, and one over the robot's own.

Source: RDT-1B, arXiv 2410.07864, section 4.1; clean prefixes: arXiv 2512.05964.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from policies.rdt.network import Conditions, RDTModel
from policies.rdt.sampling import regress
from policies.rdt.solver import add_noise, alphas_cumprod


@dataclass(frozen=True)
class Targets:
    """Chunks to learn, in the unified space.

    Attributes:
        state: (B, d).
        actions: (B, T, d) clean, zero in slots that the robot lacks.
        slots: (B, d) 1 in the slots that it has.
        mask: (B, d) what the network is told of that: the same, or all zeros where it was dropped.
        frequency: (B,) Hz, 0 for unknown.
    """

    state: Tensor
    actions: Tensor
    slots: Tensor
    mask: Tensor
    frequency: Tensor


@dataclass(frozen=True)
class Noise:
    """What is random in one evaluation of the loss.

    Attributes:
        noise: (B, T, d).
        timesteps: (B,) diffusion steps.
        delays: (B,) rows at the start of each chunk that are given clean and not learned; None for none.
    """

    noise: Tensor
    timesteps: Tensor
    delays: Tensor | None = None


def draw(targets: Targets, train_steps: int, generator: torch.Generator, max_delay: int = 0) -> Noise:
    """Draw noise on all slots, even diffusion steps, and delays from 0 to `max_delay` where that is not 0."""
    batch, device = len(targets.actions), targets.actions.device
    noise = torch.randn(targets.actions.shape, generator=generator)
    timesteps = torch.randint(train_steps, (batch,), generator=generator)
    delays = torch.randint(max_delay + 1, (batch,), generator=generator).to(device) if max_delay else None
    return Noise(noise.to(device), timesteps.to(device), delays)


def predict(model: RDTModel, targets: Targets, conditions: Conditions, random: Noise) -> tuple[Tensor, Tensor]:
    """What a network makes of chunks with noise, and which of their rows it was to learn.

    Args:
        model: the network.
        targets: what to predict.
        conditions: what to predict it from.
        random: see `draw`.

    Returns:
        The prediction (B, T, d), and (B, T) bool, False at rows that were given clean.

    Raises:
        ValueError: delays for a network without `clean_prefix`.
    """
    config = model.config
    power = _signal_power(config.num_train_timesteps).to(targets.actions.device)
    noisy = add_noise(targets.actions, random.noise, random.timesteps, power)
    clean = None
    if random.delays is not None:
        if not config.clean_prefix:
            raise ValueError("delays: expected a network with clean_prefix, found one without")
        clean = torch.arange(noisy.shape[1], device=noisy.device) < random.delays[:, None]
        noisy = torch.where(clean[..., None], targets.actions, noisy)
    predicted = model(
        targets.state[:, None], noisy, targets.mask[:, None], random.timesteps, targets.frequency, conditions, clean
    )
    return predicted, torch.ones_like(noisy[..., 0], dtype=torch.bool) if clean is None else ~clean


def diffusion_loss(
    model: RDTModel, targets: Targets, conditions: Conditions, random: Noise, masked: bool = False
) -> Tensor:
    """Mean squared error of the prediction.

    Args:
        model: the network.
        targets: what to predict.
        conditions: what to predict it from.
        random: see `draw`.
        masked: count only the robot's own slots. The published loss counts all 128, so that of a robot of 14 numbers
            is about 14/128 of its error per number.

    Raises:
        ValueError: delays for a network without `clean_prefix`.
    """
    predicted, learned = predict(model, targets, conditions, random)
    wanted = targets.actions if model.config.prediction_type == "sample" else random.noise
    error = (predicted.float() - wanted).square()
    weight = learned[..., None].expand_as(error).to(error)
    if masked:
        weight = weight * targets.slots[:, None]
    return (error * weight).sum() / weight.sum().clamp(min=1)


def regression_loss(model: RDTModel, targets: Targets, conditions: Conditions, masked: bool = False) -> Tensor:
    """Mean squared error of chunks that are predicted in one pass from no actions; see `diffusion_loss`."""
    predicted = regress(model, targets.state, targets.actions.shape[1], targets.mask, targets.frequency, conditions)
    error = (predicted.float() - targets.actions).square()
    weight = targets.slots[:, None].expand_as(error) if masked else torch.ones_like(error)
    return (error * weight).sum() / weight.sum().clamp(min=1)


@torch.compiler.assume_constant_result
def _signal_power(steps: int) -> Tensor:
    return torch.from_numpy(alphas_cumprod(steps))
