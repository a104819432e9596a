"""`SeparableFiberConv`: a convolution over places, then over orientations; `PonitaBlock`: with a network behind it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SeparableFiberConv(nn.Module):
    """A depthwise convolution over places and orientations, each with a kernel of its own.

    Its first pass in training scales the kernels so that what comes out has the standard deviation of what came in.

    Args:
        channels: H.
        basis_dim: number of functions that kernels are made of.
        fiber: whether points have several orientations.
    """

    calibrated: Tensor

    def __init__(self, channels: int, basis_dim: int, fiber: bool = True) -> None:
        super().__init__()
        self.kernel = nn.Linear(basis_dim, channels, bias=False)
        self.fiber_kernel = nn.Linear(basis_dim, channels, bias=False) if fiber else None
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("calibrated", torch.tensor(False))

    def forward(self, x: Tensor, edges: Tensor, basis: Tensor, fiber_basis: Tensor | None = None) -> Tensor:
        """Features (N, O, H) to features.

        Args:
            x: of N points.
            edges: (2, E) senders and receivers.
            basis: (E, O, basis_dim), 0 where nothing is told.
            fiber_basis: (O, O, basis_dim) of orientations; None if points have one.
        """
        if self.training and not self.calibrated:
            self._calibrate(x, *self._convolved(x, edges, basis, fiber_basis))
        return self._convolved(x, edges, basis, fiber_basis)[1] + self.bias

    def _convolved(self, x: Tensor, edges: Tensor, basis: Tensor, fiber_basis: Tensor | None) -> tuple[Tensor, Tensor]:
        """Features after the convolution over places, and then over orientations."""
        told = torch.zeros_like(x).index_add(0, edges[1], self.kernel(basis) * x.index_select(0, edges[0]))
        if self.fiber_kernel is None:
            return told, told
        return told, torch.einsum("opc,noc->npc", self.fiber_kernel(fiber_basis), told) / x.shape[1]

    @torch.no_grad()
    def _calibrate(self, x: Tensor, told: Tensor, mixed: Tensor) -> None:
        """Scale the kernels."""
        before, between, after = (float(values.std()) for values in (x, told, mixed))
        if before > 0 and between > 0 and after > 0:
            self.kernel.weight *= before / between
            if self.fiber_kernel is not None:
                self.fiber_kernel.weight *= between / after
            self.calibrated.fill_(True)


class PonitaBlock(nn.Module):
    """A convolution and a network at every place and orientation, added to what came in.

    Args:
        conv: of H channels.
        channels: H.
        widening: hidden width of the network, in H.
        layer_scale: first factor of what is added; None for none. The published 1e-6 needs long training.
    """

    def __init__(
        self, conv: SeparableFiberConv, channels: int, widening: int = 4, layer_scale: float | None = None
    ) -> None:
        super().__init__()
        self.conv = conv
        self.network = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, widening * channels),
            nn.GELU(),
            nn.Linear(widening * channels, channels),
        )
        self.scale = None if layer_scale is None else nn.Parameter(torch.full((channels,), layer_scale))

    def forward(self, x: Tensor, edges: Tensor, basis: Tensor, fiber_basis: Tensor | None = None) -> Tensor:
        """Features (N, O, H) to features; see `SeparableFiberConv`."""
        added = self.network(self.conv(x, edges, basis, fiber_basis))
        return x + (added if self.scale is None else self.scale * added)
