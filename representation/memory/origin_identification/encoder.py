"""`OriginEncoder`: an autoencoder and the linear map behind it, as an `Encoder` of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.interface import Modality
from representation.memory.origin_identification.autoencoder import DiffusersAutoencoder, SmallAutoencoder
from representation.memory.origin_identification.edits import EDITS
from representation.memory.origin_identification.identifier import new_projection

SYSTEM, VAE = "origin_identification", "vae"


@dataclass(frozen=True)
class Config:
    """A small autoencoder that learns beside the map, or a large one that stays as it is.

    Attributes:
        vae: directory of an AutoencoderKL of diffusers; a small autoencoder is trained if empty.
        resolution: side of the small one's pictures, pixels; a multiple of 8.
        channels: of its first convolution.
        latent: numbers of its latent at each place.
        divergence: weight of its divergence from the standard normal distribution.
        width: numbers of a vector.
        scale: of the cosines, see `CosFaceHead`; 64 in the paper, which has more classes.
        margin: by which the right one must win.
        instances: pictures of each frame in a batch: itself, and so many less one that were made of it.
        edits: what is made of frames that have no translations.
    """

    vae: str = ""
    resolution: int = 64
    channels: int = 16
    latent: int = 8
    divergence: float = 1e-3
    width: int = 128
    scale: float = 30.0
    margin: float = 0.35
    instances: int = 4
    edits: tuple[str, ...] = tuple(EDITS)

    def __post_init__(self) -> None:
        if self.instances < 2:
            raise ValueError(f"instances: expected a frame and at least one made of it, found {self.instances}")


class OriginEncoder(nn.Module):
    """An `Encoder` whose vectors are alike for a frame and what was made of it.

    Args:
        config: sizes.
        generator: draws the first weights.
        vae: directory of the large autoencoder; that of the configuration if None.
    """

    modality: Modality = "image"

    def __init__(self, config: Config, generator: torch.Generator, vae: Path | None = None) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        self.autoencoder: Any = (
            DiffusersAutoencoder.from_directory(vae or Path(config.vae))
            if config.vae
            else SmallAutoencoder(config.resolution, config.channels, config.latent, generator)
        )
        self.projection = new_projection(self.autoencoder.numbers, config.width, generator)

    def encode(self, inputs: Tensor) -> Tensor:
        """Unit vectors (B, width) of pictures (B, 3, H, W) in [0, 1]; the cosine of two tells whether one origin."""
        return F.normalize(self.projection(self.autoencoder.vectors(inputs)).float(), dim=1)

    def save(self, directory: Path) -> None:
        """Write the encoder; a large autoencoder is copied into `vae/`."""
        if self.config.vae:
            save_encoder(self.projection, SYSTEM, self.config, directory)
            self.autoencoder.save(directory / VAE)
        else:
            save_encoder(self, SYSTEM, self.config, directory)


def load(directory: Path) -> OriginEncoder:
    """Read what `OriginEncoder.save` wrote; in evaluation mode.

    Raises:
        ValueError: damaged; names the file.
    """
    fields = dict(read_config(directory)["config"])
    try:
        config = Config(**(fields | {"edits": tuple(fields.get("edits", ()))}))
    except TypeError as error:
        raise ValueError(f"{directory}: expected the configuration of {SYSTEM}: {error}") from error
    encoder = OriginEncoder(config, torch.Generator(), directory / VAE)
    load_weights(encoder.projection if config.vae else encoder, directory)
    return encoder.eval()
