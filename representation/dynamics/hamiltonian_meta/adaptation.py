"""Fitting a Hamiltonian to states and rates: by a few steps from good weights, and how such weights are found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, grad_and_value, vmap

from representation.dynamics.hamiltonian_meta.network import HamiltonianNet, Parameters
from representation.dynamics.hamiltonian_meta.systems import Trajectories


@dataclass(frozen=True)
class MetaConfig:
    """How weights are trained.

    Attributes:
        iterations: outer steps.
        outer_lr: of Adam.
        tasks: trajectories of an outer step.
        support: moments of each that the inner steps see.
        query: moments of each that the outer loss is of.
        inner_lr: of plain gradient descent.
        inner_steps: of it.
        first_order: whether the inner steps count as constant when the outer loss is differentiated.
    """

    iterations: int = 5000
    outer_lr: float = 5e-4
    tasks: int = 10
    support: int = 50
    query: int = 50
    inner_lr: float = 1e-3
    inner_steps: int = 1
    first_order: bool = False


def field_loss(net: HamiltonianNet, parameters: Parameters, states: Tensor, rates: Tensor) -> Tensor:
    """Mean absolute error of the rates of states (B, bodies, 2 d)."""
    return (net.field(parameters, states) - rates).abs().mean()


def descend(
    net: HamiltonianNet,
    parameters: Parameters,
    states: Tensor,
    rates: Tensor,
    steps: int,
    lr: float,
    first_order: bool = False,
) -> dict[str, Tensor]:
    """Weights after some steps of plain gradient descent; differentiable in the first ones."""
    now = dict(parameters)
    for _ in range(steps):
        slopes = grad(lambda p: field_loss(net, p, states, rates))(now)
        now = {name: now[name] - lr * (slope.detach() if first_order else slope) for name, slope in slopes.items()}
    return now


def adapt(
    net: HamiltonianNet, parameters: Parameters, states: Tensor, rates: Tensor, steps: int, lr: float = 1e-3
) -> dict[str, Tensor]:
    """Weights after some steps of Adam on all states at once."""
    fitted = {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}
    optimizer = torch.optim.Adam(fitted.values(), lr=lr)
    slopes_of = grad(lambda p: field_loss(net, p, states, rates))
    for _ in range(steps):
        for name, slope in slopes_of({name: value.detach() for name, value in fitted.items()}).items():
            fitted[name].grad = slope
        optimizer.step()
    return {name: value.detach() for name, value in fitted.items()}


def meta_loss(
    net: HamiltonianNet, parameters: Parameters, support: Trajectories, query: Trajectories, config: MetaConfig
) -> Tensor:
    """Mean over K tasks of the loss of the query after the inner steps on the support."""

    def one(states: Tensor, rates: Tensor, query_states: Tensor, query_rates: Tensor) -> Tensor:
        inner = (config.inner_steps, config.inner_lr, config.first_order)
        return field_loss(net, descend(net, parameters, states, rates, *inner), query_states, query_rates)

    return vmap(one)(support.states, support.rates, query.states, query.rates).mean()


def joint_loss(
    net: HamiltonianNet, parameters: Parameters, support: Trajectories, query: Trajectories, config: MetaConfig
) -> Tensor:
    """Mean loss of all moments by the same weights, which is ordinary training."""
    states, rates = (torch.cat([getattr(part, name) for part in (support, query)]) for name in ("states", "rates"))
    return field_loss(net, parameters, states.flatten(0, 1), rates.flatten(0, 1))


def train(
    net: HamiltonianNet,
    tasks: Sequence[Trajectories],
    config: MetaConfig,
    generator: torch.Generator,
    loss: Callable[..., Tensor] = meta_loss,
) -> list[float]:
    """Train the network's own weights by `meta_loss` or `joint_loss`.

    Args:
        net: is changed.
        tasks: trajectories of each system; those of as many bodies are drawn from together.
        config: how.
        generator: draws tasks and moments.
        loss: what is minimised.

    Returns:
        The loss of each iteration.
    """
    pools = _by_bodies(tasks)
    optimizer, losses = torch.optim.Adam(net.parameters(), lr=config.outer_lr), []
    for _ in range(config.iterations):
        now = net.parameters_by_name
        sums = {name: torch.zeros_like(value) for name, value in now.items()}
        total = 0.0
        shares = torch.multinomial(
            torch.tensor([float(len(p.states)) for p in pools]), config.tasks, replacement=True, generator=generator
        )
        for number, pool in enumerate(pools):
            count = int((shares == number).sum())
            if not count:
                continue
            rows = torch.randint(len(pool.states), (count,), generator=generator)
            chosen = Trajectories(pool.states[rows], pool.rates[rows])
            moments = chosen.drawn(config.support + config.query, generator)
            parts = [
                Trajectories(moments.states[:, part], moments.rates[:, part])
                for part in (slice(config.support), slice(config.support, None))
            ]
            slopes, value = grad_and_value(lambda p, parts=parts: loss(net, p, *parts, config))(now)
            for name, slope in slopes.items():
                sums[name] += slope * count / config.tasks
            total += value.item() * count / config.tasks
        for name, parameter in net.named_parameters():
            parameter.grad = sums[name]
        optimizer.step()
        losses.append(total)
    return losses


def _by_bodies(tasks: Sequence[Trajectories]) -> list[Trajectories]:
    """Trajectories of as many bodies, in one."""
    counts = sorted({part.states.shape[2:] for part in tasks})
    pools = [[part for part in tasks if part.states.shape[2:] == count] for count in counts]
    return [Trajectories(torch.cat([t.states for t in p]), torch.cat([t.rates for t in p])) for p in pools]
