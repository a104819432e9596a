"""`SirenKernel`: a network of coordinates whose numbers are the weights of a convolution."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Sine(nn.Module):
    """sin(omega (W x + b)).

    Args:
        inputs: numbers of x.
        outputs: numbers that come out.
        omega: frequency.
        first: whether x are coordinates; weights are then drawn wider.
    """

    def __init__(self, inputs: int, outputs: int, omega: float, first: bool) -> None:
        super().__init__()
        self.linear, self.omega = nn.Linear(inputs, outputs), omega
        reach = 1 / inputs if first else math.sqrt(6 / inputs) / omega
        nn.init.uniform_(self.linear.weight, -reach, reach)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Numbers (..., outputs)."""
        return (self.omega * self.linear(x)).sin()


class SirenKernel(nn.Module):
    """Weights (..., c_out, c_in) at coordinates (..., in_dim).

    Args:
        in_dim: numbers of a coordinate.
        c_in: channels in.
        c_out: channels out.
        kernel_size: side of the kernel, which the size of first weights follows.
        width: of the layers.
        depth: layers of sines after the first.
        omega: their frequency.
    """

    def __init__(
        self, in_dim: int, c_in: int, c_out: int, kernel_size: int, width: int = 60, depth: int = 2, omega: float = 10.0
    ) -> None:
        super().__init__()
        self.shape = (c_out, c_in)
        layers = [Sine(in_dim, width, omega, True), *(Sine(width, width, omega, False) for _ in range(depth))]
        self.sines, self.last = nn.Sequential(*layers), nn.Linear(width, c_in * c_out)
        reach = math.sqrt(6 / width) / math.sqrt(c_in * kernel_size**2)
        nn.init.uniform_(self.last.weight, -reach, reach)
        nn.init.zeros_(self.last.bias)

    def forward(self, coordinates: Tensor) -> Tensor:
        """The weights."""
        return self.last(self.sines(coordinates)).unflatten(-1, self.shape)


def pixel_grid(side: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Centers (side, side, 2) of pixels as x, y of a plane with y up, in [-1, 1]."""
    place = (torch.arange(side, dtype=dtype) * 2 + 1) / side - 1
    y, x = torch.meshgrid(-place, place, indexing="ij")
    return torch.stack([x, y], dim=-1)
