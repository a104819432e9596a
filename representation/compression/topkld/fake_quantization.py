"""Linear maps that compute with rounded weights and still can be trained: gradients pass the rounding by.

Learned steps: Esser et al., Learned Step Size Quantization, ICLR 2020 (arXiv 1902.08153), section 2.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.compression.topkld.formats import Format, IntFormat
from representation.compression.topkld.quantizer import (
    QTensor,
    decoded,
    encoded,
    scales,
    spread,
    with_scales,
)

KEPT = ("embed", "norm", "head")
"""Parts of names of maps that stay as they are."""
Model = TypeVar("Model", bound=nn.Module)


class FakeQuantizedLinear(nn.Module):
    """A linear map that rounds its weights to a format in each forward pass.

    Args:
        linear: what it takes weights and bias from.
        format: of the weights.
        activations: format that inputs are rounded to, for each token by itself; None leaves them.
        learned_step: train the scales too, which begin where the largest weight just fits. Otherwise they follow the
            weights.

    Raises:
        ValueError: learned steps of a format without them: one of floating-point numbers or with zero points.
    """

    def __init__(
        self, linear: nn.Linear, format: Format, activations: IntFormat | None = None, learned_step: bool = False
    ) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(linear.weight.detach().clone()), None
        if linear.bias is not None:
            self.bias = nn.Parameter(linear.bias.detach().clone())
        self.format, self.activations, self.step = format, activations, None
        if learned_step:
            if not (isinstance(format, IntFormat) and format.symmetric):
                raise ValueError(f"learned_step: expected a symmetric format of integers, found {format.name}")
            self.step = nn.Parameter(scales(self.weight, format)[0])

    @property
    def quantized(self) -> QTensor:
        """What the rounded weights are packed into."""
        scale, zero = scales(self.weight, self.format) if self.step is None else (self.step.detach(), None)
        return with_scales(self.weight, scale, zero, self.format)

    def rounded(self) -> Tensor:
        """The weights that it computes with; see `passed_round` and `learned_round` for their gradients."""
        if self.step is None:
            return passed_round(self.weight, self.format)
        return learned_round(self.weight, self.step, self.format)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., in_features) to (..., out_features)."""
        x = x if self.activations is None else rounded_tokens(x, self.activations)
        return F.linear(x, self.rounded(), self.bias)


def passed_round(w: Tensor, format: Format) -> Tensor:
    """A matrix rounded to a format; its gradient is that of the matrix, as all of it lies in the format's range."""
    scale, zero = scales(w, format)
    values = decoded(encoded(w, scale, zero, format), scale, zero, format)
    return w + (values.to(w.dtype) - w.detach())


def learned_round(w: Tensor, step: Tensor, format: IntFormat) -> Tensor:
    """A matrix rounded to integers times steps (rows, groups).

    Gradients: of a number 1 inside of the range and 0 outside; of a step what the number was rounded by, in steps, or
    the end of the range outside. The step's gradient is scaled by 1 / sqrt(numbers * highest).
    """
    shared = w.numel() / step.numel()
    factor = (shared * format.highest) ** -0.5
    step = factor * step + (1 - factor) * step.detach()
    scaled = (w / spread(step, w.shape, format)).clamp(format.lowest, format.highest)
    whole = scaled + (scaled.round() - scaled).detach()
    return whole * spread(step, w.shape, format)


def rounded_tokens(x: Tensor, format: IntFormat) -> Tensor:
    """Activations (..., n) rounded to integers, with a scale for each token and the format's zero point.

    Gradients pass as if nothing was rounded.
    """
    tokens, one_each = x.detach().flatten(0, -2).float(), IntFormat(format.bits, symmetric=format.symmetric)
    scale, zero = scales(tokens, one_each)
    values = decoded(encoded(tokens, scale, zero, one_each), scale, zero, one_each).view(x.shape)
    return x + (values.to(x.dtype) - x.detach())


def linear_maps(module: nn.Module, skip: Sequence[str] = KEPT) -> dict[str, nn.Linear]:
    """Linear maps of a module by name, but for those with one of some words in their name."""
    return {
        name: part
        for name, part in module.named_modules()
        if type(part) is nn.Linear and not any(word in name for word in skip)
    }


def replace_linear(module: nn.Module, name: str, replacement: nn.Module) -> None:
    """Put a map in the place of another."""
    place, _, attribute = name.rpartition(".")
    setattr(module.get_submodule(place), attribute, replacement)


def fake_quantize(
    module: Model,
    weight_format: Format,
    activations: IntFormat | None = None,
    skip: Sequence[str] = KEPT,
    learned_step: bool = False,
) -> Model:
    """A copy of a module whose linear maps round their weights.

    Args:
        module: not changed.
        weight_format: of the weights.
        activations: format that the inputs of these maps are rounded to.
        skip: see `linear_maps`.
        learned_step: see `FakeQuantizedLinear`.

    Raises:
        ValueError: no linear map is left to quantise.
    """
    result = copy.deepcopy(module)
    maps = linear_maps(result, skip)
    if not maps:
        raise ValueError(f"module: expected linear maps outside of {', '.join(skip)}, found none")
    for name, linear in maps.items():
        replace_linear(result, name, FakeQuantizedLinear(linear, weight_format, activations, learned_step))
    return result
