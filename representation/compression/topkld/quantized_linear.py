"""`QuantizedLinear`: a linear map whose weights are kept packed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.compression.topkld.fake_quantization import FakeQuantizedLinear, replace_linear, rounded_tokens
from representation.compression.topkld.formats import Format, IntFormat
from representation.compression.topkld.quantizer import QTensor, dequantize, quantize

Model = TypeVar("Model", bound=nn.Module)


class QuantizedLinear(nn.Module):
    """A linear map with packed weights, which are unpacked for each use.

    Args:
        in_features: width of the inputs.
        out_features: width of the outputs.
        format: of the weights.
        bias: whether it has one.
        activations: format that inputs are rounded to, with a scale for each token; None leaves them.
        smoothed: whether inputs are divided by factors first, see `calibration.smooth`.

    Attributes:
        weight: (out_features, in_features) float32, unpacked; made anew each time.
    """

    codes: Tensor
    scale: Tensor
    zero: Tensor | None
    smoothing: Tensor | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        format: Format,
        bias: bool = True,
        activations: IntFormat | None = None,
        smoothed: bool = False,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.format, self.activations = (
            in_features,
            out_features,
            format,
            activations,
        )
        empty = quantize(torch.zeros(out_features, in_features), format)
        self.register_buffer("codes", empty.codes)
        self.register_buffer("scale", empty.scale)
        self.register_buffer("zero", empty.zero)
        self.register_buffer("smoothing", torch.ones(in_features) if smoothed else None)
        self.bias = nn.Parameter(torch.zeros(out_features), requires_grad=False) if bias else None

    @property
    def quantized(self) -> QTensor:
        """The weights as they are kept."""
        return QTensor(self.codes, self.scale, self.zero, (self.out_features, self.in_features), self.format)

    @property
    def weight(self) -> Tensor:
        """See the class."""
        return dequantize(self.quantized)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., in_features) to (..., out_features)."""
        if self.smoothing is not None:
            x = x / self.smoothing.to(x.dtype)
        if self.activations is not None:
            x = rounded_tokens(x, self.activations)
        return F.linear(x, self.weight.to(x.dtype), self.bias)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> QuantizedLinear:
        # A change of the module's number format must not round the scales.
        whole = {name: buffer for name, buffer in self.named_buffers() if buffer.is_floating_point()}
        super()._apply(fn, recurse)
        for name, buffer in whole.items():
            setattr(self, name, buffer.to(getattr(self, name).device))
        return self


def packed(
    module: Model,
    weights: Mapping[str, QTensor],
    activations: IntFormat | None = None,
    smoothing: Mapping[str, Tensor] | None = None,
) -> Model:
    """A copy of a module in evaluation mode with packed weights.

    Args:
        module: not changed.
        weights: quantised, by name of the linear map.
        activations: format that the inputs of these maps are rounded to.
        smoothing: by name of the map, factors (in_features,) by which its inputs are divided.

    Raises:
        ValueError: a name that is no linear map, or weights of another shape; names the map.
    """
    result = copy.deepcopy(module).eval()
    for name, q in weights.items():
        old = result.get_submodule(name)
        if not isinstance(old, nn.Linear | FakeQuantizedLinear):
            raise ValueError(f"{name}: expected a linear map, found {type(old).__name__}")
        if q.shape != tuple(old.weight.shape):
            raise ValueError(f"{name}: expected shape {tuple(old.weight.shape)}, found {q.shape}")
        factors = None if smoothing is None else smoothing.get(name)
        has_bias, smoothed = old.bias is not None, factors is not None
        new = QuantizedLinear(q.shape[1], q.shape[0], q.format, has_bias, activations, smoothed)
        new.codes, new.scale, new.zero = q.codes, q.scale, q.zero
        if smoothed:
            new.smoothing = factors
        if has_bias:
            new.bias = nn.Parameter(old.bias.detach().clone(), requires_grad=False)
        replace_linear(result, name, new.eval())
    return result
