"""Noise in what comes into linear maps: what rounding of activations does, without a format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def noisy_inputs(maps: Iterable[nn.Linear], size: float, generator: torch.Generator) -> Iterator[None]:
    """While it lasts, Gaussian noise is added to what comes into linear maps, at each of their passes anew.

    Args:
        maps: of a network.
        size: standard deviation over the root mean square of the numbers of a token.
        generator: on the CPU.

    Raises:
        ValueError: a negative size.
    """
    if size < 0:
        raise ValueError(f"size: expected at least 0, found {size}")

    def disturbed(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        (x,) = inputs
        noise = torch.randn(x.shape, generator=generator).to(x)
        return (x + size * x.square().mean(dim=-1, keepdim=True).sqrt() * noise,)

    handles = [part.register_forward_pre_hook(disturbed) for part in maps]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
