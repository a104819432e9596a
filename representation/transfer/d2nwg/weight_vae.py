"""Variational autoencoders of weight vectors: a convolutional one for networks, a perceptron for small heads."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.interface import Loss
from representation.transfer.d2nwg.conv_blocks import Middle, PlaceAttention, ResidualBlock, norm

LEAST_LOG_VARIANCE, LARGEST_LOG_VARIANCE = -30.0, 20.0
KL_WEIGHT, SQUARES_WEIGHT = 1e-6, 1000.0


class _VAE(nn.Module):
    """What both share: posterior, draws, loss.

    Attributes:
        latent_shape: of a latent.
        latent: numbers of it.
    """

    latent_shape: tuple[int, ...]
    latent: int
    moments: nn.Module
    decoder: nn.Module
    log_variance: Tensor

    def encode(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (B, latent) of the posterior of vectors (B, chunks n)."""
        mean, log_variance = self.moments(weights).flatten(1).chunk(2, dim=1)
        return mean, log_variance.clamp(LEAST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)

    def decode(self, latents: Tensor) -> Tensor:
        """Vectors (B, chunks n) of latents (B, latent)."""
        return self.decoder(latents)

    def loss(self, weights: Tensor, generator: torch.Generator | None = None) -> Loss:
        """Summed absolute error under a fixed scale, KL divergence from N(0, 1), and 1000 times the mean squared error.

        The scale s of |w - ŵ| / exp(s) + s is 0 and not trained, as in the released training.
        """
        mean, log_variance = self.encode(weights)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        error = weights - self.decode(mean + (0.5 * log_variance).exp() * noise)
        s, count = self.log_variance, len(weights)
        absolute = (error.abs() / s.exp() + s).sum() / count
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum() / count
        squares = error.square().mean()
        total = absolute + KL_WEIGHT * kl + SQUARES_WEIGHT * squares
        return Loss(total, {"absolute": absolute.detach(), "kl": kl.detach(), "squares": squares.detach()})


class MLPWeightVAE(_VAE):
    """Perceptrons both ways, for heads of fewer than about 10,000 numbers.

    Args:
        n: numbers of a vector.
        latent: of a latent.
        hidden: units of the two layers between.
    """

    def __init__(self, n: int, latent: int = 24, hidden: int = 256) -> None:
        super().__init__()
        self.latent_shape, self.latent = (latent,), latent
        self.moments = _perceptron(n, hidden, 2 * latent)
        self.decoder = _perceptron(latent, hidden, n)
        self.register_buffer("log_variance", torch.tensor(0.0))


def _perceptron(before: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(before, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, out)
    )


class WeightVAE(_VAE):
    """The vector as a picture: a linear layer, then a convolutional KL autoencoder, and back.

    Args:
        n: numbers of a chunk.
        chunks: of a vector, which share the linear layers.
        fdim: numbers that a chunk becomes.
        latent_shape: channels and side of a latent; the picture's side is 2^(levels - 1) times as large.
        in_channels: of the picture.
        channels: of the first level.
        mult: channels of each level, as multiples.
        attention: sides of pictures at which there is attention.
        blocks: residual blocks of a level; the decoder has one more.

    Raises:
        ValueError: the chunks do not fill the picture.
    """

    def __init__(
        self,
        n: int,
        chunks: int = 1,
        fdim: int = 4096,
        latent_shape: tuple[int, int, int] = (4, 16, 16),
        in_channels: int = 1,
        channels: int = 128,
        mult: Sequence[int] = (1, 1, 2),
        attention: Sequence[int] = (),
        blocks: int = 2,
    ) -> None:
        super().__init__()
        z, side = latent_shape[0], latent_shape[1] * 2 ** (len(mult) - 1)
        if latent_shape[1] != latent_shape[2] or in_channels * side**2 != chunks * fdim:
            raise ValueError(
                f"fdim: expected {chunks} chunks to fill {in_channels} x {side} x {side}, found {fdim} each"
            )
        self.latent_shape, self.latent = latent_shape, math.prod(latent_shape)
        widths = [channels * factor for factor in mult]
        self.moments = nn.Sequential(
            nn.Unflatten(1, (chunks, n)), nn.Linear(n, fdim), nn.LeakyReLU(0.01),
            nn.Flatten(), nn.Unflatten(1, (in_channels, side, side)),
            *_down(in_channels, widths, side, attention, blocks),
            norm(widths[-1]), nn.SiLU(), nn.Conv2d(widths[-1], 2 * z, 3, padding=1),
            nn.Conv2d(2 * z, 2 * z, 1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Unflatten(1, latent_shape), nn.Conv2d(z, z, 1),
            *_up(z, widths, side, attention, blocks + 1),
            norm(widths[0]), nn.SiLU(), nn.Conv2d(widths[0], in_channels, 3, padding=1),
            nn.Flatten(), nn.Unflatten(1, (chunks, fdim)), nn.Linear(fdim, n), nn.Flatten(),
        )  # fmt: skip
        self.register_buffer("log_variance", torch.tensor(0.0))


class _Halve(nn.Conv2d):
    """A convolution of stride 2 with the padding at the right and the bottom."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to half the sides."""
        return super().forward(F.pad(x, (0, 1, 0, 1)))


def _down(before: int, widths: Sequence[int], side: int, attention: Sequence[int], blocks: int) -> list[nn.Module]:
    parts: list[nn.Module] = [nn.Conv2d(before, widths[0], 3, padding=1)]
    channels = widths[0]
    for level, width in enumerate(widths):
        for _ in range(blocks):
            parts.append(ResidualBlock(channels, width))
            channels = width
            parts += [PlaceAttention(width)] if side in attention else []
        if level < len(widths) - 1:
            parts.append(_Halve(width))
            side //= 2
    return [*parts, Middle(channels)]


def _up(before: int, widths: Sequence[int], side: int, attention: Sequence[int], blocks: int) -> list[nn.Module]:
    channels, side = widths[-1], side // 2 ** (len(widths) - 1)
    parts: list[nn.Module] = [nn.Conv2d(before, channels, 3, padding=1), Middle(channels)]
    for level in reversed(range(len(widths))):
        for _ in range(blocks):
            parts.append(ResidualBlock(channels, widths[level]))
            channels = widths[level]
            parts += [PlaceAttention(channels)] if side in attention else []
        if level:
            parts += [nn.Upsample(scale_factor=2), nn.Conv2d(channels, channels, 3, padding=1)]
            side *= 2
    return parts
