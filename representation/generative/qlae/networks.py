"""Encoders and decoders: convolutions for pictures, with a style decoder, and dense layers for vectors (appendix C)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

SLOPE, NORM_EPS = 0.2, 1e-6
KERNELS, STRIDES, LEVELS = (3, 3, 4), (1, 1, 2), 4
SIDE = 4  # of the smallest map
DENSE = 256
CONSTANT = 0.1


def dense(widths: Sequence[int], last: type[nn.Module] | None = nn.ReLU) -> nn.Sequential:
    """Linear layers with ReLU between them, and another or nothing at the end."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    layers.pop()
    return nn.Sequential(*layers, *([] if last is None else [last()]))


class PictureEncoder(nn.Module):
    """Pictures (B, C, S, S) to latents (B, n); S is a power of two of at least 16.

    Args:
        channels: C.
        side: S.
        latents: n.
        width: channels of the first level; each of the levels halves the side and doubles the width.

    Raises:
        ValueError: another side.
    """

    def __init__(self, channels: int, side: int, latents: int, width: int) -> None:
        super().__init__()
        levels = levels_of(side)
        layers: list[nn.Module] = []
        for level in range(levels):
            out = width * 2**level
            for kernel, stride in zip(KERNELS, STRIDES, strict=True):
                layers += [
                    nn.Conv2d(channels, out, kernel, stride, 1, bias=False),
                    nn.InstanceNorm2d(out, NORM_EPS, affine=True),
                    nn.LeakyReLU(SLOPE),
                ]
                channels = out
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.head = dense([channels * SIDE**2, DENSE, DENSE, latents], last=None)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.head(self.layers(x))


class StyleDecoder(nn.Module):
    """Latents (B, n) to the log-odds (B, C, S, S) of pictures: a learned constant, whose maps latents scale and shift.

    Args:
        channels: C.
        side: S.
        latents: n.
        width: channels of the last level.
    """

    def __init__(self, channels: int, side: int, latents: int, width: int) -> None:
        super().__init__()
        levels = levels_of(side)
        before = width * 2 ** (levels - 1)
        self.constant = nn.Parameter(torch.full((before, SIDE, SIDE), CONSTANT))
        self.style = dense([latents, DENSE, DENSE])
        self.convolutions, self.styles = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(levels)):
            out = width * 2**level
            for kernel, stride in zip(KERNELS, STRIDES, strict=True):
                self.convolutions.append(nn.ConvTranspose2d(before, out, kernel, stride, 1, bias=False))
                self.styles.append(dense([DENSE, 2 * out]))
                before = out
        self.last = nn.Conv2d(before, channels, 3, padding=1, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        w, x = self.style(z), self.constant.expand(len(z), -1, -1, -1)
        for convolution, style in zip(self.convolutions, self.styles, strict=True):
            x = F.instance_norm(F.leaky_relu(convolution(x), SLOPE), eps=NORM_EPS)
            scale, shift = style(w)[..., None, None].chunk(2, dim=1)
            x = x * scale + shift
        return self.last(x)


class DenseEncoder(nn.Module):
    """Anything of some numbers (B, ...) to latents (B, n), through two hidden layers."""

    def __init__(self, shape: Sequence[int], latents: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), *_leaky([math.prod(shape), width, width, latents]))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.layers(x)


class DenseDecoder(nn.Module):
    """Latents (B, n) to log-odds (B, ...), through two hidden layers."""

    def __init__(self, shape: Sequence[int], latents: int, width: int) -> None:
        super().__init__()
        self.layers, self.shape = nn.Sequential(*_leaky([latents, width, width, math.prod(shape)])), tuple(shape)

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        return self.layers(z).unflatten(1, self.shape)


def levels_of(side: int) -> int:
    """Levels between a side and the smallest map.

    Raises:
        ValueError: not a power of two between two and sixteen times that map's side.
    """
    levels = round(math.log2(side / SIDE)) if side > 0 else 0
    if not 1 < levels <= LEVELS or SIDE * 2**levels != side:
        raise ValueError(f"side: expected 16, 32 or 64 pixels, found {side}")
    return levels


def _leaky(widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.LeakyReLU(SLOPE)]
    return layers[:-1]
