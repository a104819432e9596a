"""Bits of a module, and how quality follows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import nn

from representation.compression.topkld.quantized_linear import QuantizedLinear

KEPT_BITS, FACTOR_BITS = 16, 32


class ScalingLaw(NamedTuple):
    """quality = a + b log10(bits), and the share r2 of its variance that the line tells."""

    a: float
    b: float
    r2: float


def model_bits(module: nn.Module) -> int:
    """Bits of a module: of packed maps their codes, scales and smoothing factors, of all other parameters 16 each."""
    maps = [part for part in module.modules() if isinstance(part, QuantizedLinear)]
    factors = sum(FACTOR_BITS * part.smoothing.numel() for part in maps if part.smoothing is not None)
    kept = KEPT_BITS * sum(p.numel() for p in module.parameters())
    return sum(part.quantized.bits for part in maps) + factors + kept


def fit_scaling(bits: Sequence[float], quality: Sequence[float]) -> ScalingLaw:
    """The line of least squares through qualities over the logarithm of bits.

    Raises:
        ValueError: fewer than two different numbers of bits, or some that are not positive.
    """
    x, y = np.asarray(bits, dtype=float), np.asarray(quality, dtype=float)
    if x.shape != y.shape or (x <= 0).any() or len(np.unique(x)) < 2:
        raise ValueError(f"bits: expected two different positive numbers or more, with a quality each, found {bits}")
    x = np.log10(x)
    b, a = np.polyfit(x, y, 1)
    spread = float(((y - y.mean()) ** 2).sum())
    return ScalingLaw(float(a), float(b), 1.0 if spread == 0 else 1 - float(((y - a - b * x) ** 2).sum()) / spread)
