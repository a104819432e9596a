"""Networks whose biases are weights: every layer has one more activation, which is always 1."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from scipy.optimize import brentq
from torch import Tensor, nn

_ROOTED = (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.ELU, nn.Identity)
"""Elementwise activations that give 1 somewhere."""
_HIGHEST = 10.0


class Folded(nn.Sequential):
    """What `fold_bias` gives: takes (N, d + 1) whose last number is 1; what comes out has none more."""


class _BesideConstant(nn.Module):
    """A module for all activations but the last, which passes."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.inner(x[..., :-1]), x[..., -1:]], dim=-1)


def flat_modules(seq: nn.Sequential) -> Iterator[nn.Module]:
    """Its modules, those of nested ones in their place."""
    for module in seq:
        if isinstance(module, nn.Sequential):
            yield from flat_modules(module)
        else:
            yield module


def with_constant(x: Tensor) -> Tensor:
    """Activations (..., d + 1), the last of which is 1."""
    return torch.cat([x, torch.ones_like(x[..., :1])], dim=-1)


def fold_bias(seq: nn.Sequential) -> Folded:
    """The same function with biases among the weights, W' = [[W, 0], [b, root]] where act(root) = 1; in float64.

    The last linear map gives no constant, and what follows it stays as it is. An activation that gives 1 nowhere, a
    norm or any other module acts beside the constant.

    Raises:
        ValueError: no linear map.
    """
    modules = [copy.deepcopy(module).double().eval() for module in flat_modules(seq)]
    maps = [place for place, module in enumerate(modules) if isinstance(module, nn.Linear)]
    if not maps:
        raise ValueError(f"seq: expected at least one nn.Linear, found {[type(m).__name__ for m in modules]}")
    folded: list[nn.Module] = []
    rooted = False
    for place, module in enumerate(modules):
        if isinstance(module, nn.Linear):
            follower = modules[place + 1] if place + 1 < len(modules) else None
            rooted = isinstance(follower, _ROOTED)
            root = None if place == maps[-1] else _root(follower) if rooted and follower is not None else 1.0
            folded.append(_folded_map(module, root))
        elif place > maps[-1] or rooted:
            folded.append(module)
            rooted = False
        else:
            folded.append(_BesideConstant(module))
    return Folded(*folded).requires_grad_(False)


def prepared(seq: nn.Sequential, fold: bool = True) -> nn.Sequential:
    """What the basis is computed on: folded, or a flat copy in float64 where there shall be no constant."""
    if isinstance(seq, Folded):
        return seq
    if fold:
        return fold_bias(seq)
    return nn.Sequential(*(copy.deepcopy(m).double().eval() for m in flat_modules(seq))).requires_grad_(False)


def inputs_of(net: nn.Sequential, data: Tensor) -> Tensor:
    """Rows (N, d), with a constant for a folded network, in float64.

    Raises:
        ValueError: not finite, or not (..., d).
    """
    if data.ndim < 2 or not torch.isfinite(data).all():
        raise ValueError(f"data: expected finite values (..., d), found shape {tuple(data.shape)}")
    rows = data.detach().double().flatten(0, -2)
    return with_constant(rows) if isinstance(net, Folded) else rows


@torch.no_grad()
def activations(net: nn.Sequential, data: Tensor, layers: list[int]) -> dict[int, Tensor]:
    """Activations (N, d) that enter some modules; len(net) is the output.

    Raises:
        ValueError: no such layer.
    """
    if not layers or not all(0 <= layer <= len(net) for layer in layers):
        raise ValueError(f"layers: expected numbers from 0 to {len(net)}, found {layers}")
    x, found = inputs_of(net, data), {}
    for place, module in enumerate([*net, nn.Identity()]):
        if place in layers:
            found[place] = x
        x = module(x)
    return found


def _folded_map(module: nn.Linear, root: float | None) -> nn.Linear:
    bias = torch.zeros(module.out_features).double() if module.bias is None else module.bias.detach()
    weight = torch.cat([module.weight.detach(), bias[:, None]], dim=1)
    if root is not None:
        constant = torch.zeros_like(weight[:1])
        constant[0, -1] = root
        weight = torch.cat([weight, constant])
    folded = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=torch.float64)
    folded.weight = nn.Parameter(weight)
    return folded


def _root(activation: nn.Module) -> float:
    def above(x: float) -> float:
        return float(activation(torch.tensor([x], dtype=torch.float64))) - 1.0

    return float(brentq(above, 0.0, _HIGHEST, xtol=1e-15))
