"""Training on several environments, adapting to a new one, and how wrong forecasts are."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from representation.dynamics.gcrl.model import GCRL

LR, BATCH = 5e-3, 64
SAMPLES = 20  # of a forecast


def fit(
    model: GCRL,
    environments: Sequence[Tensor],
    epochs: int,
    generator: torch.Generator,
    lr: float = LR,
    validation: Tensor | None = None,
) -> None:
    """Train all of a model; each step sees a batch of every environment.

    Args:
        model: is changed.
        environments: tracks (K, observed + future, agents, 2) of each.
        epochs: passes through the smallest environment.
        generator: draws the order.
        lr: of Adam.
        validation: other tracks, of all environments; the weights of the epoch whose best of 20 forecasts err least on
            them are kept. Those of the last epoch if there are none.
    """
    _run(model, model.parameters(), environments, epochs, generator, lr, z_prior=True, validation=validation)


def adapt(
    model: GCRL, scenes: Tensor, generator: torch.Generator, epochs: int = 100, lr: float = LR, freeze_z: bool = True
) -> None:
    """Train a model again on some scenes of a new environment; by default the side of z stays as it is.

    Args:
        model: is changed.
        scenes: tracks (K, observed + future, agents, 2).
        generator: draws the order.
        epochs: passes through the scenes.
        lr: of Adam.
        freeze_z: whether what makes z, and its prior, is kept.
    """
    kept = {id(p) for part in model.z_side for p in part.parameters()} if freeze_z else set()
    trained = [p for p in model.parameters() if id(p) not in kept]
    _run(model, trained, [scenes], epochs, generator, lr, z_prior=not freeze_z)


def _run(
    model: GCRL,
    trained: Iterable[nn.Parameter],
    environments: Sequence[Tensor],
    epochs: int,
    generator: torch.Generator,
    lr: float,
    z_prior: bool,
    validation: Tensor | None = None,
) -> None:
    optimizer = torch.optim.Adam(trained, lr=lr)
    observed = model.config.observed
    least, best = float("inf"), None
    smallest = min(map(len, environments))
    for _ in range(epochs):
        orders = [torch.randperm(len(scenes), generator=generator)[:smallest] for scenes in environments]
        for start in range(0, smallest, BATCH):
            rows = [scenes[order[start : start + BATCH]] for scenes, order in zip(environments, orders, strict=True)]
            loss = sum(model.elbo(part[:, :observed], part[:, observed:], z_prior).total for part in rows)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
        if validation is not None and (found := forecast_error(model, validation)) < least:
            least, best = found, copy.deepcopy(model.state_dict())
    if best is not None:
        model.load_state_dict(best)


def forecast_error(model: GCRL, scenes: Tensor, samples: int = SAMPLES, seed: int = 0) -> float:
    """Mean distance of the best samples of each scene, metres.

    Args:
        model: that forecasts.
        scenes: (B, observed + future, agents, 2).
        samples: of each forecast.
        seed: of the samples.
    """
    past, future = scenes[:, : model.config.observed], scenes[:, model.config.observed :]
    told = model.predict(past, samples, torch.Generator().manual_seed(seed))
    return float(min_ade_fde(told, future)[0].mean())


def min_ade_fde(told: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and final distances (B,) of the best sample of each scene, the same for all its agents.

    Args:
        told: (K, B, T, agents, 2).
        true: (B, T, agents, 2); an agent that is not there, NaN, does not count.
    """
    there = ~true.isnan().any(dim=(1, 3))
    distances = torch.where(there[:, None], (told - true).norm(dim=-1), 0.0)
    of_agents = there.sum(dim=1)
    ade = (distances.sum(dim=(-2, -1)) / (of_agents * true.shape[1])).amin(dim=0)
    return ade, (distances[:, :, -1].sum(dim=-1) / of_agents).amin(dim=0)


def constant_velocity(past: Tensor, steps: int) -> Tensor:
    """Positions (1, B, steps, agents, 2) of agents that go on as they last did."""
    speed = past[:, -1:] - past[:, -2:-1]
    return (past[:, -1:] + speed * torch.arange(1, steps + 1)[:, None, None])[None]
