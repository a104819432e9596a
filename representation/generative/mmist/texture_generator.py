"""`TextureGenerator`: a small style-based generator, trained as the decoder of a variational autoencoder.

Layers and latents are those of a StyleGAN (a mapping network, a learned start, convolutions whose features are
normalised and then scaled and shifted by the latent of their layer, fixed noise), so that `CrossModalInverter` meets
the same interface. What differs: in place of a discriminator it learns to have the features' means and standard
deviations of a texture, since where its stripes begin is of no matter to a style, and a blurred picture of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.generative.mmist.style_transfer import VGGEncoder

FIRST_SIDE, BLURRED_SIDE = 8, 8
KL, BLURRED = 0.01, 10.0


class StyledConvolution(nn.Module):
    """A convolution, noise, and normalised features that the latent scales and shifts.

    Args:
        into: channels before.
        out: channels after.
        w_dim: numbers of the latent.
        side: of the features, pixels.
    """

    def __init__(self, into: int, out: int, w_dim: int, side: int) -> None:
        super().__init__()
        self.convolution, self.style = nn.Conv2d(into, out, 3, padding=1), nn.Linear(w_dim, 2 * out)
        self.strength = nn.Parameter(torch.full((out, 1, 1), 0.1))
        self.register_buffer("noise", torch.randn(side, side))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Features (B, out, side, side) of features (B, into, side, side) and latents (B, w_dim)."""
        x = F.leaky_relu(self.convolution(x) + self.strength * self.noise, 0.2)
        scale, shift = self.style(w)[..., None, None].chunk(2, dim=1)
        return F.instance_norm(x) * (1 + scale) + shift


class TextureGenerator(nn.Module):
    """Pictures of latents, a `Generator`, with the encoder that it is trained by.

    Args:
        side: of the pictures, 8 times a power of 2.
        width: channels of its layers.
        w_dim: numbers of a latent and of a draw.
        generator_seed: of the first weights and of the noise.
    """

    def __init__(self, side: int = 64, width: int = 32, w_dim: int = 64, generator_seed: int = 0) -> None:
        super().__init__()
        levels = (side // FIRST_SIDE).bit_length() - 1
        if side != FIRST_SIDE * 2**levels or levels < 1:
            raise ValueError(f"side: expected {FIRST_SIDE} times a power of 2, found {side}")
        self.side, self.z_dim, self.w_dim = side, w_dim, w_dim
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator_seed)
            self.first = nn.Parameter(torch.randn(1, width, FIRST_SIDE, FIRST_SIDE))
            self.mapper = nn.Sequential(
                nn.Linear(w_dim, w_dim), nn.LeakyReLU(0.2), nn.Linear(w_dim, w_dim), nn.LeakyReLU(0.2)
            )
            sides = [FIRST_SIDE * 2 ** (number // 2) for number in range(2 * levels + 2)]
            self.layers = nn.ModuleList(StyledConvolution(width, width, w_dim, one) for one in sides)
            self.last = nn.Conv2d(width, 3, 1)
            down: list[nn.Module] = []
            channels = 3
            for out in (width, 2 * width, 2 * width):
                down += [nn.Conv2d(channels, out, 3, stride=2, padding=1), nn.LeakyReLU(0.2)]
                channels = out
            self.encoder = nn.Sequential(
                *down, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * channels, 2 * w_dim)
            )

    @property
    def num_ws(self) -> int:
        """Latents of a picture."""
        return len(self.layers)

    def mapping(self, z: Tensor) -> Tensor:
        """Latents (B, num_ws, w_dim), the same for all layers, of draws (B, z_dim)."""
        normal = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        return self.mapper(normal)[:, None].expand(-1, self.num_ws, -1)

    def synthesis(self, ws: Tensor) -> Tensor:
        """Pictures (B, 3, side, side) about [-1, 1] of latents (B, num_ws, w_dim)."""
        x = self.first.expand(len(ws), -1, -1, -1)
        for number, layer in enumerate(self.layers):
            if number and number % 2 == 0:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = layer(x, ws[:, number])
        return self.last(x)

    def loss(self, images: Tensor, vgg: VGGEncoder, generator: torch.Generator) -> Tensor:
        """Loss of pictures (B, 3, side, side) in [0, 1] that are encoded and made again.

        Args:
            images: the pictures.
            vgg: whose features are compared; frozen.
            generator: a CPU generator that draws the codes.
        """
        mean, log_variance = self.encoder(2 * images - 1).chunk(2, dim=1)
        log_variance = log_variance.clamp(-8, 4)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        made = self.synthesis(self.mapping(mean + noise * (log_variance / 2).exp())) / 2 + 0.5
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        return (
            statistics_loss(vgg.levels(made)[:3], vgg.levels(images)[:3])
            + BLURRED * (_blurred(made) - _blurred(images)).square().mean()
            + KL * divergence
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
