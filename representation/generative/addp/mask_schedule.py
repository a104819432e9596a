"""`MaskSchedule`: how many tokens are unreliable at a step of the diffusion, and which (section 3)."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.stats import truncnorm
from torch import Tensor

LONGEST_STRIDE = 5


class MaskSchedule:
    """Shares of masked tokens, ascending, and how often each is drawn.

    A pair of masks is that of a step and of a noisier one, one to five steps on; the first lies within the second.

    Args:
        num: pieces that the quarter of a cosine is cut into.
        lo: smallest share; smaller ones are left out.
        hi: shares from here on are left out.
        mu: mean of the normal distribution that weighs the shares.
        sigma: its standard deviation.

    Attributes:
        ratios: (S,) shares.
        weights: (S,) how often each is drawn.

    Raises:
        ValueError: no share is left.
    """

    def __init__(self, num: int = 100, lo: float = 0.5, hi: float = 1.0, mu: float = 0.55, sigma: float = 0.25) -> None:
        ratios = np.sort(np.cos(np.pi / 2 * np.arange(num + 1) / num))
        self.ratios = ratios[(ratios >= lo - 1e-9) & (ratios < hi)]
        if not 0 <= lo < hi <= 1 or sigma <= 0 or not len(self.ratios):
            raise ValueError(f"lo, hi, sigma: expected shares 0 <= lo < hi <= 1 with some between, found {lo} and {hi}")
        density = truncnorm.pdf(self.ratios, (lo - mu) / sigma, (hi - mu) / sigma, loc=mu, scale=sigma)
        self.weights = density / density.sum()
        self._draws = torch.from_numpy(self.weights)

    def sample(self, count: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Two masks (B, L) bool; true is masked. Every sample has as many masked as the others.

        Args:
            count: B.
            length: L.
            generator: a CPU generator.
        """
        step = int(torch.multinomial(self._draws, 1, generator=generator))
        stride = int(torch.randint(1, LONGEST_STRIDE + 1, (), generator=generator))
        later = min(step + stride, len(self.ratios) - 1)
        order = torch.rand(count, length, generator=generator).argsort(1).argsort(1)
        first, second = (order < math.ceil(length * self.ratios[number]) for number in (step, later))
        return first, second
