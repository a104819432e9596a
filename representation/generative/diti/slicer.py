"""`TimeSlicer`: which numbers of a vector belong to which steps of diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

CELEBA_STAGES, CELEBA_DIMS = (50, 100, 300, 500, 1000), (10, 25, 327, 100, 50)
"""Ends of the stages and numbers of each that were best on CelebA, of 512 numbers in 64 bins."""


class TimeSlicer:
    """k bins of steps, each with a slice of the d numbers; bin 0, of the lightest noise, has the first numbers.

    Args:
        latent_dim: d.
        k: bins.
        T: steps.
        stages: ends of stages of steps, the last of which is T; without them numbers are dealt evenly.
        dims: numbers of each stage, which are dealt evenly over the bins that begin in it; its last bin has the rest.

    Attributes:
        ends: (k,) where the slice of each bin ends.
        masks: (k, d) 1 for the numbers of the bin and of those before.
        own: (k, d) 1 for the numbers of the bin.
        previous: (k, d) 1 for the numbers of the bins before.

    Raises:
        ValueError: sizes below 1, stages that do not rise to T, another sum of `dims`, or a stage without a bin.
    """

    def __init__(
        self,
        latent_dim: int = 512,
        k: int = 64,
        T: int = 1000,  # noqa: N803 (as in the paper)
        stages: Sequence[int] | None = None,
        dims: Sequence[int] | None = None,
    ) -> None:
        if latent_dim < 1 or not 1 <= k <= T:
            raise ValueError(f"latent_dim, k: expected at least 1 and from 1 to {T}, found {latent_dim} and {k}")
        self.latent_dim, self.k, self.T = latent_dim, k, T
        if not stages and not dims:
            ends = [latent_dim * (i + 1) // k for i in range(k)]
        else:
            ends = self._staged(list(stages or ()), list(dims or ()))
        self.ends = tuple(ends)
        places, last = torch.arange(latent_dim), torch.tensor(ends)[:, None]
        self.masks = (places < last).float()
        self.previous = torch.cat([torch.zeros(1, latent_dim), self.masks[:-1]])
        self.own = self.masks - self.previous

    def _staged(self, stages: list[int], dims: list[int]) -> list[int]:
        rises = all(a < b for a, b in pairwise([0, *stages]))
        if len(stages) != len(dims) or not rises or stages[-1] != self.T or min(dims) < 0:
            raise ValueError(f"stages, dims: expected as many of each, rising to {self.T}, found {stages} and {dims}")
        if sum(dims) != self.latent_dim:
            raise ValueError(f"dims: expected a sum of {self.latent_dim}, found {sum(dims)}")
        firsts = [-(-i * self.T // self.k) for i in range(self.k)]
        ends, end = [], 0
        for (begin, stop), numbers in zip(pairwise([0, *stages]), dims, strict=True):
            bins = sum(begin <= first < stop for first in firsts)
            if not bins:
                raise ValueError(
                    f"stages: expected a bin that begins from {begin} to {stop - 1}, found none of {self.k}"
                )
            ends += [end + numbers // bins * (i + 1) for i in range(bins)]
            end += numbers
            ends[-1] = end
        return ends

    def bin(self, t: Tensor) -> Tensor:
        """Bins of steps, of any shape."""
        return t * self.k // self.T

    def slice_of(self, bins: Sequence[int]) -> Tensor:
        """(d,) whether a number belongs to one of some bins.

        Raises:
            ValueError: there are no such bins.
        """
        if not len(bins) or min(bins) < 0 or max(bins) >= self.k:
            raise ValueError(f"slices: expected some from 0 to {self.k - 1}, found {list(bins)}")
        return self.own[list(bins)].sum(dim=0) > 0
