"""Draws chunks of actions from noise."""

from __future__ import annotations

import torch
from torch import Tensor

from policies.rdt.network import Conditions, RDTModel
from policies.rdt.prefix import Prefix, guided, joined
from policies.rdt.solver import DPMSolverPP


def draw_noise(model: RDTModel, samples: int, generator: torch.Generator) -> Tensor:
    """Noise (samples, T, action_dim) in all slots, as the network was trained with; drawn on the generator's device."""
    config = model.config
    shape = (samples, config.pred_horizon, config.action_dim)
    return torch.randn(shape, generator=generator, device=generator.device).to(model.device)


def regress(
    model: RDTModel, state: Tensor, rows: int, mask: Tensor, frequency: Tensor, conditions: Conditions
) -> Tensor:
    """Chunks (B, rows, action_dim) of a network that was trained to predict them from no actions, at diffusion step 0.

    Args:
        model: the network.
        state: (B, action_dim).
        rows: of a chunk.
        mask: (B, action_dim).
        frequency: (B,) Hz.
        conditions: batch of 1 or B.
    """
    nothing = state.new_zeros(len(state), rows, state.shape[1])
    return model(state[:, None], nothing, mask[:, None], torch.zeros_like(frequency), frequency, conditions)


def sample(
    model: RDTModel,
    conditions: Conditions,
    state: Tensor,
    mask: Tensor,
    frequency: Tensor,
    noise: Tensor,
    solver: DPMSolverPP,
    prefix: Prefix | None = None,
) -> Tensor:
    """Draw chunks (B, T, action_dim), zero in the slots that the robot lacks.

    The same noise gives the same chunks; nothing is kept, so threads may share the model.

    Args:
        model: the network.
        conditions: batch of 1 or B.
        state: (B, action_dim) or (1, action_dim), in the unified space.
        mask: (action_dim,) 1 in the slots that the robot has.
        frequency: (B,) or (1,) Hz, 0 for unknown.
        noise: (B, T, action_dim).
        solver: number of steps.
        prefix: what the chunks must agree with.

    Raises:
        ValueError: the prefix has other shapes than the chunks, or needs a network trained with `clean_prefix`.
    """
    if prefix is not None:
        _check_prefix(prefix, noise, model)
    batch = len(noise)
    inputs = (state.expand(batch, -1)[:, None], mask.expand(batch, 1, -1), frequency.expand(batch), conditions)
    x, before = noise.float(), None
    for k in range(len(solver.timesteps)):
        clean = _predicted(model, solver, k, x, mask, inputs, prefix, noise)
        x, before = solver.step(k, x, clean, before), clean
    if prefix is not None and prefix.mode in ("guided", "blend"):
        x = joined(x, prefix, mask)
    return x * mask


def _predicted(
    model: RDTModel,
    solver: DPMSolverPP,
    k: int,
    x: Tensor,
    mask: Tensor,
    inputs: tuple[Tensor, Tensor, Tensor, Conditions],
    prefix: Prefix | None,
    noise: Tensor,
) -> Tensor:
    """Clean chunk at step k, held to the prefix."""
    state, masks, frequency, conditions = inputs
    steps = torch.full((len(x),), int(solver.timesteps[k]), device=x.device)
    level = solver.levels[k]
    if prefix is None:
        with torch.no_grad():
            return solver.clean(k, x, model(state, x, masks, steps, frequency, conditions))
    given = prefix.given(mask)
    clean_rows = None
    if prefix.mode == "replace":
        x = torch.where(given, level.alpha * prefix.actions + level.sigma * noise, x)
    elif prefix.mode == "clean":
        x = torch.where(given, prefix.actions, x)
        clean_rows = given.any(-1).expand(len(x), -1)
    exact = prefix.mode == "guided" and prefix.jacobian == "exact"
    with torch.set_grad_enabled(exact):
        x = x.detach().requires_grad_(exact)
        clean = solver.clean(k, x, model(state, x, masks, steps, frequency, conditions, clean_rows))
        if prefix.mode == "guided":
            return guided(clean, x, prefix, mask, level)
    if prefix.mode == "blend":
        return torch.lerp(clean, prefix.actions.expand_as(clean), prefix.weights() * mask)
    return torch.where(given, prefix.actions, clean)


def _check_prefix(prefix: Prefix, noise: Tensor, model: RDTModel) -> None:
    if prefix.actions.shape != noise.shape[1:]:
        raise ValueError(f"prefix: expected actions {tuple(noise.shape[1:])}, found {tuple(prefix.actions.shape)}")
    if prefix.mode == "clean" and not model.config.clean_prefix:
        raise ValueError("prefix: mode clean: expected a network trained with clean_prefix, found one without")
