"""`TextureGenerator`: a small style-based generator, trained as the decoder of an autoencoder.

Its interface is that of a StyleGAN: a mapping network, and a synthesis in which every layer is steered by a latent of
its own. It begins with a bank of patterns (the grey of some textures and frames, trained further) from which the first
latents choose; the last one says in which colours they are shown. What differs: in place of a discriminator it learns
to have the features' means and standard deviations of a picture, since where its stripes begin is of no matter to a
style. Draws become codes by a Gaussian that is fitted to the codes of the training pictures afterwards (From
Variational to Deterministic Autoencoders, Ghosh et al., ICLR 2020, arXiv 1903.12436).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.generative.mmist.style_transfer import VGGEncoder

LAYERS, BLURRED_SIDE = 3, 4
BLURRED, PIXELS, SMALL = 5.0, 40.0, 1e-3
"""Weights of blurred pictures, of the statistics of the pixels themselves, and of the size of codes."""


class StyledConvolution(nn.Module):
    """A convolution of features that the latent has scaled, then shifts.

    Args:
        width: channels.
        w_dim: numbers of the latent.
        size: side of the kernel, pixels.
    """

    def __init__(self, width: int, w_dim: int, size: int) -> None:
        super().__init__()
        self.convolution, self.style = nn.Conv2d(width, width, size, padding=size // 2), nn.Linear(w_dim, 2 * width)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Features (B, width, side, side) of features alike and latents (B, w_dim)."""
        scale, shift = self.style(w)[..., None, None].chunk(2, dim=1)
        return F.instance_norm(F.leaky_relu(self.convolution(x * (1 + scale)) + shift, 0.2))


class TextureGenerator(nn.Module):
    """Pictures of latents, a `Generator`, with the encoder that it is trained with.

    Args:
        side: of the pictures, at least 16.
        width: patterns of the bank, and channels.
        w_dim: numbers of a latent and of a draw.
        seed: of the first weights.
    """

    def __init__(self, side: int = 64, width: int = 24, w_dim: int = 48, seed: int = 0) -> None:
        super().__init__()
        if side < 16 or min(width, w_dim) < 1:
            raise ValueError(f"side, width, w_dim: expected at least 16, 1 and 1, found {side}, {width}, {w_dim}")
        self.side, self.z_dim, self.w_dim, self.num_ws = side, w_dim, w_dim, LAYERS + 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.bank = nn.Parameter(torch.randn(1, width, side, side))
            self.mapper = nn.Sequential(nn.Linear(w_dim, w_dim), nn.LeakyReLU(0.2), nn.Linear(w_dim, w_dim))
            self.layers = nn.ModuleList(StyledConvolution(width, w_dim, size) for size in (1, 3, 1))
            self.palette = nn.Linear(w_dim, 3 * (width + 1))
            down: list[nn.Module] = []
            channels = 3
            for out in (width, 2 * width, 2 * width):
                down += [nn.Conv2d(channels, out, 3, stride=2, padding=1), nn.LeakyReLU(0.2)]
                channels = out
            down += [nn.AdaptiveAvgPool2d(2), nn.Flatten()]
            self.encoder, self.code = nn.Sequential(*down), nn.Linear(4 * channels + 6, w_dim)
        self.register_buffer("middle", torch.zeros(w_dim))
        self.register_buffer("spread", torch.eye(w_dim))

    @torch.no_grad()
    def fill_bank(self, images: Tensor) -> None:
        """Begin with the grey of pictures (width, 3, side, side), each at a contrast of 1."""
        grey = images.mean(dim=1)
        self.bank.copy_(((grey - grey.mean((1, 2), True)) / (grey.std((1, 2), keepdim=True) + 0.02))[None])

    def encode(self, images: Tensor) -> Tensor:
        """Codes (B, w_dim) of pictures (B, 3, side, side) in [0, 1]."""
        variance, mean = torch.var_mean(images, dim=(2, 3))
        return self.code(torch.cat([self.encoder(2 * images - 1), 4 * mean - 2, 4 * (variance + 1e-5).sqrt()], dim=1))

    @torch.no_grad()
    def fit_draws(self, images: Tensor) -> None:
        """Draw codes like those of some pictures (N, 3, side, side) from now on."""
        codes = self.encode(images)
        covariance = codes.T.cov() + 1e-4 * torch.eye(self.w_dim, device=codes.device)
        self.middle.copy_(codes.mean(dim=0))
        self.spread.copy_(torch.linalg.cholesky(covariance))

    def _latents(self, codes: Tensor) -> Tensor:
        return self.mapper(codes)[:, None].expand(-1, self.num_ws, -1)

    def mapping(self, z: Tensor) -> Tensor:
        """Latents (B, num_ws, w_dim), the same for all layers, of draws (B, z_dim)."""
        return self._latents(self.middle + z @ self.spread.T)

    def synthesis(self, ws: Tensor) -> Tensor:
        """Pictures (B, 3, side, side) about [-1, 1] of latents (B, num_ws, w_dim)."""
        x = self.bank.expand(len(ws), -1, -1, -1)
        for number, layer in enumerate(self.layers):
            x = layer(x, ws[:, number])
        colours = self.palette(ws[:, -1]).unflatten(1, (3, -1))
        return torch.einsum("bkhw,bck->bchw", x, colours[..., :-1]) + colours[..., -1, None, None]

    def loss(self, images: Tensor, vgg: VGGEncoder) -> Tensor:
        """Loss of pictures (B, 3, side, side) in [0, 1] that are encoded and made again; `vgg` is frozen."""
        codes = self.encode(images)
        made = self.synthesis(self._latents(codes)) / 2 + 0.5
        return (
            statistics_loss(vgg.levels(made)[:3], vgg.levels(images)[:3])
            + PIXELS * statistics_loss([made], [images])
            + BLURRED * (_blurred(made) - _blurred(images)).square().mean()
            + SMALL * codes.square().mean()
        )


def statistics_loss(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Squared differences of channels' means and standard deviations, averaged, and added up over levels."""
    total = found[0].new_zeros(())
    for one, other in zip(found, wanted, strict=True):
        (first_variance, first), (second_variance, second) = (
            torch.var_mean(features, dim=(2, 3)) for features in (one, other)
        )
        first_std, second_std = (first_variance + 1e-5).sqrt(), (second_variance + 1e-5).sqrt()
        total = total + (first - second).square().mean() + (first_std - second_std).square().mean()
    return total


def _blurred(images: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(images, BLURRED_SIDE)
