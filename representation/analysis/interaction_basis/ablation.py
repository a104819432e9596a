"""How many directions of a layer are needed, and networks that have no more than these."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from representation.analysis.interaction_basis.basis import Basis
from representation.analysis.interaction_basis.folding import Folded, flat_modules, inputs_of, prepared


class Ablated(nn.Module):
    """A network that sees some directions of one layer only; takes and gives what the network does, in float64."""

    def __init__(self, net: nn.Sequential, layer: int, projection: Tensor) -> None:
        super().__init__()
        self.net, self.layer, self.projection = net, layer, projection

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (N, o) of inputs (..., d)."""
        before = self.net[: self.layer](inputs_of(self.net, x))
        return self.net[self.layer :](before @ self.projection)


def ablate(seq: nn.Sequential, layer: int, basis: Basis, n: int) -> Ablated:
    """The network with f ← f C_n C_n⁺ at a layer: its n most important directions, and the constant.

    Raises:
        ValueError: no such layer, or more directions than there are.
    """
    net = prepared(seq, _has_constant(seq, layer, basis))
    if not 0 <= layer <= len(net):
        raise ValueError(f"layer: expected 0 to {len(net)}, found {layer}")
    return Ablated(net, layer, basis.projection(n))


def kept_variance(wanted: Tensor) -> Callable[[Tensor], float]:
    """A measure of outputs (N, o): 1 minus their mean squared error by the variance of the wanted ones."""
    wanted = wanted.detach().double().flatten(0, -2)
    spread = (wanted - wanted.mean(dim=0)).square().sum()

    def measure(outputs: Tensor) -> float:
        return float(1 - (outputs - wanted).square().sum() / spread)

    return measure


@torch.no_grad()
def ablation_curve(
    seq: nn.Sequential, layer: int, basis: Basis, data: Tensor, measure: Callable[[Tensor], float] | None = None
) -> Tensor:
    """A measure (r + 1,) of the outputs with 0, 1, ... r directions.

    Args:
        seq: the network.
        layer: of the basis.
        basis: of the layer.
        data: (..., d) inputs.
        measure: of outputs (N, o), more is better; None for `kept_variance`.
    """
    net = prepared(seq, _has_constant(seq, layer, basis))
    rows = inputs_of(net, data)
    measure = measure or kept_variance(net(rows))
    f, after = net[:layer](rows), net[layer:]
    return torch.tensor([measure(after(f @ basis.projection(n))) for n in range(len(basis) + 1)], dtype=torch.float64)


@torch.no_grad()
def required_directions(
    seq: nn.Sequential,
    layer: int,
    basis: Basis,
    data: Tensor,
    tol: float,
    measure: Callable[[Tensor], float] | None = None,
) -> int:
    """Fewest directions with which, and with any more, the measure is within `tol` of that of the whole network.

    Args:
        seq: the network.
        layer: of the basis.
        basis: of the layer.
        data: (..., d) inputs.
        tol: how much less is allowed.
        measure: see `ablation_curve`.

    Raises:
        ValueError: not even all directions suffice: the basis is of other activations, or was cut too early.
    """
    net = prepared(seq, _has_constant(seq, layer, basis))
    whole = net(inputs_of(net, data))
    measure = measure or kept_variance(whole)
    enough = ablation_curve(seq, layer, basis, data, measure) >= measure(whole) - tol
    if not enough[-1]:
        raise ValueError(f"tol: expected all {len(basis)} directions to stay within {tol}, found more is lost")
    failing = (~enough).nonzero()
    return int(failing.max()) + 1 if len(failing) else 0


def compress(seq: nn.Sequential, bases: Mapping[int, Basis], keep: Mapping[int, int]) -> nn.Sequential:
    """A network of smaller maps: where n directions are kept, a linear map becomes one to n and one from n numbers.

    Args:
        seq: the network, not folded.
        bases: of layers that enter linear maps.
        keep: directions by layer; where it names none, a layer stays whole.

    Raises:
        ValueError: a layer without basis, or that enters no linear map.
    """
    modules = [copy.deepcopy(module) for module in flat_modules(seq)]
    for layer in keep:
        if layer not in bases or not 0 <= layer < len(modules) or not isinstance(modules[layer], nn.Linear):
            raise ValueError(f"keep: expected layers with a basis that enter an nn.Linear, found {layer}")
    parts: list[nn.Module] = []
    for place, module in enumerate(modules):
        parts += factored(module, bases[place], keep[place]) if place in keep else [module]
    return nn.Sequential(*parts)


@torch.no_grad()
def factored(module: nn.Linear, basis: Basis, n: int) -> list[nn.Module]:
    """Two linear maps in place of one that sees n directions of its inputs."""
    columns, rows = basis.first(n)
    inputs, given = module.in_features, len(basis.C)
    if given not in (inputs, inputs + 1):
        raise ValueError(f"basis: expected {inputs} activations, and a constant or none, found {given}")
    bias = module.weight.new_zeros(module.out_features) if module.bias is None else module.bias
    weight = torch.cat([module.weight, bias[:, None]], dim=1).double()[:, :given]
    seen = weight @ rows.T
    offset = torch.zeros(module.out_features).double() if given > inputs else bias.double()
    if basis.constant:
        columns, seen, offset = columns[:, 1:], seen[:, 1:], seen[:, 0]
    down = nn.Linear(inputs, n, bias=given > inputs, dtype=module.weight.dtype)
    up = nn.Linear(n, module.out_features, bias=module.bias is not None or given > inputs, dtype=module.weight.dtype)
    down.weight.copy_(columns[:inputs].T)
    up.weight.copy_(seen)
    if down.bias is not None:
        down.bias.copy_(columns[inputs])
    if up.bias is not None:
        up.bias.copy_(offset)
    return [down, up]


def _has_constant(seq: nn.Sequential, layer: int, basis: Basis) -> bool:
    """Whether a basis is of activations with a constant, by the size of the map that they enter."""
    if isinstance(seq, Folded) or basis.constant:
        return True
    following = next((module for module in list(flat_modules(seq))[layer:] if isinstance(module, nn.Linear)), None)
    return following is not None and len(basis.C) == following.in_features + 1
