"""`QLAEEncoder` and its `Objective`: QLAE as a system that `representation.pretrain` trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.data.frames import Frames
from representation.generative.qlae.model import QLAE
from representation.interface import Loss, Modality
from representation.pretraining.small_encoder import resized

SYSTEM = "qlae"


@dataclass(frozen=True)
class Config:
    """Sizes; the paper has pictures of 64 pixels, 32 channels, and twice as many latents as there are sources.

    Attributes:
        resolution: side of the pictures: 16, 32 or 64 pixels.
        latents: n.
        values: scalars of each.
        channels: of the widest maps.
        quantization: weight of the loss that moves the scalars.
        commitment: weight of the loss that moves the latents.
    """

    resolution: int = 32
    latents: int = 12
    values: int = 10
    channels: int = 8
    quantization: float = 0.01
    commitment: float = 0.01

    def __post_init__(self) -> None:
        if self.values < 2:
            raise ValueError(f"values: expected at least 2, found {self.values}")


class QLAEEncoder(nn.Module):
    """An `Encoder` of pictures; its vectors are the scalars of the n latents.

    Args:
        config: sizes.
        seed: of the weights.
    """

    modality: Modality = "image"

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__()
        self.config, self.width = config, config.latents
        shape = (3, config.resolution, config.resolution)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = QLAE(
                shape,
                config.latents,
                config.values,
                "image",
                config.quantization,
                config.commitment,
                config.channels,
            )

    def encode(self, inputs: Tensor) -> Tensor:
        """Scalars (B, n) of pictures (B, 3, H, W) in [0, 1]."""
        return self.model.latents(resized(inputs, self.config.resolution))

    def codes(self, inputs: Tensor) -> Tensor:
        """Codes (B, n) of pictures (B, 3, H, W) in [0, 1]."""
        return self.model.encode(resized(inputs, self.config.resolution))

    def save(self, directory: Path) -> None:
        """Write the encoder, with its decoder."""
        save_encoder(self, SYSTEM, self.config, directory)


class QLAEObjective(nn.Module):
    """Pictures come back from their codes."""

    needs = ()

    def __init__(self, config: Config, seed: int) -> None:
        super().__init__()
        self.encoder = QLAEEncoder(config, seed)

    def batch(self, frames: Frames, rows: NDArray, generator: torch.Generator) -> dict[str, Tensor]:
        """The pictures (B, 3, R, R); nothing is random."""
        return {"images": resized(frames.pixels(rows), self.encoder.config.resolution).clamp(0, 1)}

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """See `QLAE.loss`."""
        return self.encoder.model.loss(batch["images"])

    def param_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """See `QLAE.param_groups`."""
        return self.encoder.model.param_groups(weight_decay)


def new(config: Config, frames: Frames, seed: int) -> QLAEObjective:
    """An untrained autoencoder."""
    return QLAEObjective(config, seed)


def load(directory: Path) -> QLAEEncoder:
    """Read an encoder that was saved.

    Raises:
        ValueError: damaged; names the file.
    """
    try:
        encoder = QLAEEncoder(Config(**read_config(directory)["config"]))
    except TypeError as error:
        raise ValueError(f"{directory}: expected the configuration of a {SYSTEM} encoder: {error}") from error
    load_weights(encoder, directory)
    return encoder.eval()
