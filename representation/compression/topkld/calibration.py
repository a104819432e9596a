"""Roundings that know what comes in: GPTQ for weights, SmoothQuant for activations with outliers.

GPTQ: Frantar et al., ICLR 2023 (arXiv 2210.17323), algorithm 1, one column at a time. SmoothQuant: Xiao et al., ICML
2023 (arXiv 2211.10438), equation 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from representation.compression.topkld.formats import Format
from representation.compression.topkld.quantizer import (
    QTensor,
    decoded,
    encoded,
    pack,
    scales,
    spread,
)

DAMPING = 0.01  # of the mean of the Hessian's diagonal


@torch.no_grad()
def gptq(linear: nn.Linear, x: Tensor, format: Format) -> QTensor:
    """Round the weights of a linear map so that its outputs on some inputs change little.

    Args:
        linear: not changed.
        x: (..., in_features) inputs.
        format: of the weights; its scales are those of the weights as they are.

    Raises:
        ValueError: inputs of another width, or that are not finite.
    """
    if x.shape[-1] != linear.in_features or not bool(torch.isfinite(x).all()):
        raise ValueError(f"x: expected finite inputs of width {linear.in_features}, found shape {tuple(x.shape)}")
    rows = x.reshape(-1, x.shape[-1]).double()
    return gptq_by_hessian(linear, 2 * rows.T @ rows, format)


@torch.no_grad()
def gptq_by_hessian(linear: nn.Linear, hessian: Tensor, format: Format) -> QTensor:
    """The same from twice the sum of x x^T over the inputs, (in_features, in_features)."""
    w = linear.weight.detach().double().clone()
    scale, zero = scales(w, format)
    hessian = hessian.double().clone()
    # An input that is always 0 says nothing of its weights.
    hessian.diagonal().add_(DAMPING * hessian.diagonal().mean().clamp(min=1e-12))
    # Row j of the upper factor is row j of the inverse for the columns from j on, over the root of its diagonal.
    factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(hessian)), upper=True)
    wide, wide_zero = (None if v is None else spread(v, w.shape, format).expand(w.shape) for v in (scale, zero))
    codes = torch.empty(w.shape, dtype=torch.uint8)
    alone = _alone(format)
    for j in range(w.shape[1]):
        own_scale, own_zero = (None if v is None else v[:, j : j + 1] for v in (wide, wide_zero))
        codes[:, j : j + 1] = encoded(w[:, j : j + 1], own_scale, own_zero, alone)
        rounded = decoded(codes[:, j : j + 1], own_scale, own_zero, alone).double()
        error = (w[:, j : j + 1] - rounded) / factor[j, j]
        w[:, j + 1 :] -= error * factor[j, j + 1 :]
    return QTensor(pack(codes.flatten(), format.bits), scale, zero, tuple(w.shape), format)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What came into a linear map.

    Attributes:
        hessian: (in_features, in_features), twice the sum of x x^T.
        largest: (in_features,) absolute value.
    """

    hessian: Tensor
    largest: Tensor


@torch.no_grad()
def observe_inputs(maps: Mapping[str, nn.Linear], run: Callable[[], object]) -> dict[str, Inputs]:
    """What comes into some linear maps while something runs, by name."""
    seen = {
        name: Inputs(torch.zeros(linear.in_features, linear.in_features), torch.zeros(linear.in_features))
        for name, linear in maps.items()
    }

    def add(name: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        rows = inputs[0].detach().reshape(-1, inputs[0].shape[-1]).float().cpu()
        seen[name].hessian.add_(2 * rows.T @ rows)
        torch.maximum(seen[name].largest, rows.abs().amax(0), out=seen[name].largest)

    hooks = [linear.register_forward_pre_hook(partial(add, name)) for name, linear in maps.items()]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return seen


@torch.no_grad()
def smooth(linear: nn.Linear, x: Tensor, alpha: float = 0.5) -> tuple[nn.Linear, Tensor]:
    """Move the outliers of a linear map's inputs into its weights.

    Args:
        linear: not changed.
        x: (..., in_features) inputs.
        alpha: 0 leaves all to the inputs, 1 moves all to the weights.

    Returns:
        A map and factors s (in_features,): the map of x / s is what `linear` gives of x.

    Raises:
        ValueError: inputs of another width, or alpha outside of [0, 1].
    """
    if x.shape[-1] != linear.in_features or not 0 <= alpha <= 1:
        raise ValueError(
            f"x, alpha: expected width {linear.in_features} and alpha in [0, 1], found {tuple(x.shape)} and {alpha}"
        )
    inputs = x.reshape(-1, x.shape[-1]).abs().amax(0).clamp(min=1e-8)
    weights = linear.weight.abs().amax(0).clamp(min=1e-8)
    factors = (inputs**alpha / weights ** (1 - alpha)).to(linear.weight)
    result = nn.Linear(linear.in_features, linear.out_features, linear.bias is not None).to(linear.weight)
    result.weight.copy_(linear.weight * factors)
    if linear.bias is not None:
        result.bias.copy_(linear.bias)
    return result, factors


def _alone(format: Format) -> Format:
    """The same numbers with a scale for each: for one column at a time."""
    return replace(format, per_channel=True, group=None)
