"""`SmallEncoder`: the encoder of pictures of the systems that care about the loss and not about the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.image_tower import draw_weights
from representation.interface import Modality

MAP_SIDE = 4


class SmallEncoder(nn.Module):
    """An `Encoder` and `DenseEncoder`: three convolutions, a map of 4 x 4 places, and one linear layer.

    It has no batch normalisation, and its map is not averaged over all places, since places are what a robot acts on.

    Args:
        system: name in the registry of the system that trains it.
        config: of that system; has `resolution`, side of the pictures in pixels, and `width`, numbers of a vector.
        generator: draws the first weights.
    """

    modality: Modality = "image"

    def __init__(self, system: str, config: Any, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config, self.width, self._system = config, config.width, system
        channels, layers = 3, []
        for out in (32, 64, 64):
            layers += [nn.Conv2d(channels, out, 3, stride=2, padding=1), nn.GroupNorm(8, out), nn.ReLU()]
            channels = out
        pool = nn.AdaptiveAvgPool2d(MAP_SIDE)
        last = nn.Linear(channels * MAP_SIDE**2, config.width)
        self.layers = nn.Sequential(*layers, pool, nn.Flatten(), last, nn.ReLU())
        draw_weights(self.layers, generator)

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, R, R) in [0, 1] to vectors (B, width), not negative."""
        return self.layers(2 * images - 1)

    def encode(self, inputs: Tensor) -> Tensor:
        """Vectors (B, width) of pictures (B, 3, H, W) in [0, 1]: what stands before any head."""
        return self(resized(inputs, self.config.resolution))

    def dense(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The map (B, 64, 4, 4) that the vector is made of, for pictures (B, 3, H, W) in [0, 1].

        Returns:
            The map, and how strong it is at each place (B, 4, 4).
        """
        places = self.layers[:-3](2 * resized(inputs, self.config.resolution) - 1)
        return places, places.mean(dim=1)

    def save(self, directory: Path) -> None:
        """Write the encoder."""
        save_encoder(self, self._system, self.config, directory)


def load_small_encoder(
    system: str, config_class: type, directory: Path, kind: type[SmallEncoder] = SmallEncoder
) -> SmallEncoder:
    """Read what `SmallEncoder.save` wrote; in evaluation mode.

    Args:
        system: name in the registry.
        config_class: of that system.
        directory: the encoder's.
        kind: class of the encoder.

    Raises:
        ValueError: damaged; names the file.
    """
    try:
        encoder = kind(system, config_class(**read_config(directory)["config"]))
    except TypeError as error:
        raise ValueError(f"{directory}: expected the configuration of a {system} encoder: {error}") from error
    load_weights(encoder, directory)
    return encoder.eval()


def resized(images: Tensor, side: int) -> Tensor:
    """Pictures (B, 3, side, side) of pictures (B, 3, H, W)."""
    if images.shape[-2:] == (side, side):
        return images
    return F.interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False)
