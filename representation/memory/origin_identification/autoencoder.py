"""Variational autoencoders whose posterior means tell pictures: a small one, and diffusers' AutoencoderKL."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.image_tower import draw_weights
from representation.pretraining.small_encoder import resized

STRIDES = 3  # of 2 each
LEAST_LOG_VARIANCE, LARGEST_LOG_VARIANCE = -10.0, 5.0
KL_FILE = "config.json"
KL_SIDE = 256  # pixels


class Autoencoder(Protocol):
    """What an origin encoder needs of one; a module.

    Attributes:
        numbers: D of a vector.
    """

    numbers: int

    def vectors(self, images: Tensor) -> Tensor:
        """Posterior means (B, D) of pictures (B, 3, H, W) in [0, 1], channel after channel."""
        ...


class SmallAutoencoder(nn.Module):
    """Three strided convolutions each way; the latent has a place for each 8 x 8 pixels.

    Args:
        resolution: side R of the pictures, pixels; a multiple of 8.
        channels: of the first convolution; the others have twice as many.
        latent: numbers of a place.
        generator: draws the first weights.
    """

    def __init__(self, resolution: int, channels: int, latent: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if resolution % 2**STRIDES or resolution < 2**STRIDES:
            raise ValueError(f"resolution: expected a multiple of {2**STRIDES}, found {resolution}")
        self.resolution, wide = resolution, 2 * channels
        self.numbers = latent * (resolution // 2**STRIDES) ** 2
        self.encoder = nn.Sequential(
            nn.Conv2d(3, channels, 3, 2, 1), nn.SiLU(),
            nn.Conv2d(channels, wide, 3, 2, 1), nn.SiLU(),
            nn.Conv2d(wide, wide, 3, 2, 1), nn.SiLU(),
            nn.Conv2d(wide, 2 * latent, 1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv2d(latent, wide, 1), nn.SiLU(),
            nn.Upsample(scale_factor=2), nn.Conv2d(wide, wide, 3, 1, 1), nn.SiLU(),
            nn.Upsample(scale_factor=2), nn.Conv2d(wide, channels, 3, 1, 1), nn.SiLU(),
            nn.Upsample(scale_factor=2), nn.Conv2d(channels, 3, 3, 1, 1),
        )  # fmt: skip
        draw_weights(self, generator)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance, each (B, latent, R / 8, R / 8), of pictures (B, 3, H, W) in [0, 1]."""
        mean, log_variance = self.encoder(2 * resized(images, self.resolution) - 1).chunk(2, dim=1)
        return mean, log_variance.clamp(LEAST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)

    def vectors(self, images: Tensor) -> Tensor:
        """See `Autoencoder.vectors`."""
        return self.posterior(images)[0].flatten(1)

    def losses(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Squared error of a pixel (in [-1, 1]), and divergence from the standard normal distribution, of a number.

        Args:
            images: (B, 3, H, W) in [0, 1].
            noise: (B, D) of the standard normal distribution.
        """
        mean, log_variance = self.posterior(images)
        found = self.decoder(mean + (log_variance / 2).exp() * noise.view_as(mean))
        error = F.mse_loss(found, 2 * resized(images, self.resolution) - 1)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        return error, divergence


class DiffusersAutoencoder(nn.Module):
    """The encoder of a latent diffusion model, as it is: pictures are brought to a square of 256 pixels.

    The factor by which such models scale latents is left out: cosines do not see it.

    Args:
        model: an `AutoencoderKL` of diffusers.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.requires_grad_(False).eval()
        places = (KL_SIDE // 2 ** (len(model.config.block_out_channels) - 1)) ** 2
        self.numbers = model.config.latent_channels * places

    @classmethod
    def from_directory(cls, directory: Path) -> DiffusersAutoencoder:
        """Read what `AutoencoderKL.save_pretrained` wrote: safetensors; nothing is downloaded, no code is run.

        Raises:
            ValueError: there is none, or it is damaged.
        """
        from diffusers import AutoencoderKL  # takes seconds, and few need it

        if not (directory / KL_FILE).is_file():
            raise ValueError(f"{directory}: expected an AutoencoderKL of diffusers, found no {KL_FILE}")
        try:
            model = AutoencoderKL.from_pretrained(directory, use_safetensors=True, local_files_only=True)
        except (OSError, RuntimeError, TypeError, ValueError, KeyError) as error:
            raise ValueError(f"{directory}: expected an AutoencoderKL of diffusers: {error}") from error
        return cls(model)

    def vectors(self, images: Tensor) -> Tensor:
        """See `Autoencoder.vectors`."""
        return self.model.encode(2 * resized(images, KL_SIDE) - 1).latent_dist.mean.flatten(1)

    def save(self, directory: Path) -> None:
        """Write what `from_directory` reads."""
        self.model.save_pretrained(directory)
