"""How many parameters matter to what a network does, and ReLUs that open and close together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

_ROWS_AT_ONCE = 16


def effective_parameters(module: nn.Module, data: Tensor, cutoff: float = 1e-8) -> int:
    """Rank of the Hessian of the behavioural loss, H = (2/N) Σ (∂f/∂θ)ᵀ (∂f/∂θ), at the parameters as they are.

    N inputs of o outputs tell of at most N o parameters.

    Args:
        module: takes rows (1, d) and gives (1, o); its parameters are all counted.
        data: (N, d) inputs.
        cutoff: share of the largest eigenvalue above which one counts.

    Raises:
        ValueError: inputs are not finite (N, d).
    """
    return int((hessian_values(module, data) > cutoff).sum())


def hessian_values(module: nn.Module, data: Tensor) -> Tensor:
    """Eigenvalues of H by its largest, those that can differ from 0, the largest first."""
    if data.ndim != 2 or not torch.isfinite(data).all():
        raise ValueError(f"data: expected finite values (N, d), found shape {tuple(data.shape)}")
    state = {name: value.detach().double() for name, value in module.state_dict().items()}
    names = [name for name, _ in module.named_parameters()]
    trained, rest = {name: state[name] for name in names}, {k: v for k, v in state.items() if k not in names}

    def outputs(parameters: dict[str, Tensor], row: Tensor) -> Tensor:
        return functional_call(module, parameters | rest, (row[None],))[0]

    found = vmap(jacrev(outputs), in_dims=(None, 0), chunk_size=_ROWS_AT_ONCE)(trained, data.double())
    jacobian = torch.cat([part.flatten(2) for part in found.values()], dim=2).flatten(0, 1)
    wide = jacobian.shape[1] > jacobian.shape[0]
    gram = jacobian @ jacobian.T if wide else jacobian.T @ jacobian
    values = torch.linalg.eigvalsh(gram).flip(0)
    return values / values[0] if values[0] > 0 else torch.zeros_like(values)


def map_parameters(rank_act: int, rank_grad: int) -> int:
    """Parameters of a linear map that can matter: activations span so many directions, gradients behind it so many."""
    return rank_act * rank_grad


@dataclass(frozen=True)
class Synchronized:
    """ReLUs that fire on the same inputs.

    Attributes:
        groups: numbers of units, two or more in each.
        free_parameters: Σ (g² - g): mixing a group of g differently changes nothing that could not be undone behind it.
    """

    groups: list[list[int]]
    free_parameters: int


def synchronized_units(acts: Tensor, delta: float = 0.0) -> Synchronized:
    """Groups of units that fire together; those that never fire are in none.

    Args:
        acts: (N, d) before or after the ReLU; a unit fires where it is above 0.
        delta: share of inputs on which two units of a group may differ; groups are what such pairs connect.

    Raises:
        ValueError: acts are not finite (N, d), or delta is not in [0, 1).
    """
    if acts.ndim != 2 or not torch.isfinite(acts).all():
        raise ValueError(f"acts: expected finite values (N, d), found shape {tuple(acts.shape)}")
    if not 0 <= delta < 1:
        raise ValueError(f"delta: expected in [0, 1), found {delta}")
    fires = (acts > 0).double()
    both = fires.T @ fires
    counts = both.diagonal()
    differ = (counts[:, None] + counts - 2 * both) / len(fires)
    alike = (differ <= delta) & (counts > 0)[:, None] & (counts > 0)
    _, labels = connected_components(csr_array(alike.numpy()), directed=False)
    members = [[int(unit) for unit in (labels == label).nonzero()[0]] for label in range(labels.max() + 1)]
    groups = sorted(group for group in members if len(group) > 1)
    return Synchronized(groups, sum(len(group) ** 2 - len(group) for group in groups))
