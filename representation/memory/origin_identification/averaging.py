"""`ExponentialMovingAverage` of parameters, with a fixed decay or one that rises to it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


class ExponentialMovingAverage:
    """Averages of parameters, in their order.

    Args:
        params: what is averaged; their values now are the first averages.
        decay: share of the old average in the new one.
        warm_up: whether the n-th update has at most a decay of (1 + n) / (10 + n), so that first values are forgotten.
    """

    def __init__(self, params: Iterable[nn.Parameter], decay: float, warm_up: bool = False) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay: expected a number in [0, 1), found {decay}")
        self._params, self._decay, self._warm_up, self._updates = list(params), decay, warm_up, 0
        self.averages = [parameter.detach().clone() for parameter in self._params]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the values that the parameters have now."""
        self._updates += 1
        n = self._updates
        decay = min(self._decay, (1 + n) / (10 + n)) if self._warm_up else self._decay
        for average, parameter in zip(self.averages, self._params, strict=True):
            average.lerp_(parameter, 1 - decay)

    @torch.no_grad()
    def copy_to_parameters(self) -> None:
        """Give the parameters their averages."""
        for average, parameter in zip(self.averages, self._params, strict=True):
            parameter.copy_(average)
