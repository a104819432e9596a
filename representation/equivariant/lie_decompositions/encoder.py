"""`AffineEquivariantEncoder`: pictures by convolutions over affine maps, and what trains and reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.data.frames import LABEL, Frames
from representation.equivariant.lie_decompositions.affine_group import AffineGroup, Kind, MapPair
from representation.equivariant.lie_decompositions.layers import GroupConv2d, LiftingConv2d
from representation.interface import Loss, Modality
from representation.pretraining.small_encoder import resized

HEAD_WIDTH = 256


@dataclass(frozen=True)
class Config:
    """Small pictures on two cores. Published: resolution 40, 40 channels, kernels of 5, 10 maps.

    Attributes:
        resolution: side of the pictures, pixels.
        group: "so2" rotations, "sl2" maps that keep areas, "gl2" all maps without reflection.
        spd_var: variance of the logarithms of stretches.
        maps: that are drawn for each layer.
        channels: at each map; numbers of a vector.
        kernel_size: side, pixels.
        kernel_width: of the network that gives the kernels.
        classes: that are told; those of the frames by default.
        seed: of the maps, which stay the same.
        redraw: whether training draws others for every batch, as published; that wants many more pictures and steps.
    """

    resolution: int = 20
    group: Kind = "sl2"
    spd_var: float = 0.1
    maps: int = 8
    channels: int = 16
    kernel_size: int = 3
    kernel_width: int = 60
    classes: int = 0
    seed: int = 0
    redraw: bool = False

    def __post_init__(self) -> None:
        least = 3 * self.kernel_size
        if self.kernel_size % 2 == 0 or self.resolution < least or self.maps < 1:
            raise ValueError(
                f"kernel_size, resolution, maps: expected an odd one, at least {least} and at least 1, found "
                f"{self.kernel_size}, {self.resolution} and {self.maps}"
            )


class AffineEquivariantEncoder(nn.Module):
    """An `Encoder` of vectors (B, channels), and a classifier; maps are those of the seed unless others are given."""

    modality: Modality = "image"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.width = config, config.channels
        self.group = AffineGroup(config.group, config.spd_var)
        channels, side, width = config.channels, config.kernel_size, config.kernel_width
        self.lift = LiftingConv2d(self.group, 3, channels, side, width=width)
        self.block = nn.ModuleList(GroupConv2d(self.group, channels, channels, side, width=width) for _ in range(2))
        self.last = GroupConv2d(self.group, channels, channels, side, width=width)
        self.head = nn.Sequential(
            nn.Linear(channels, HEAD_WIDTH, bias=False),
            nn.LayerNorm(HEAD_WIDTH),
            nn.GELU(),
            nn.Linear(HEAD_WIDTH, config.classes),
        )
        self._maps = self.draw(torch.Generator().manual_seed(config.seed))

    def draw(self, generator: torch.Generator) -> tuple[MapPair, MapPair]:
        """Maps of the first layers, and of the last one."""
        first, last = (self.group.sample_pair(self.config.maps, generator) for _ in range(2))
        return first, last

    def training_maps(self, generator: torch.Generator) -> tuple[MapPair, MapPair]:
        """Maps of the first layers and of the last one for a batch of training."""
        return self.draw(generator) if self.config.redraw else self._maps

    def forward_features(self, images: Tensor, maps: tuple[MapPair, MapPair] | None = None) -> Tensor:
        """Features (B, C, G, h, w) of pictures (B, 3 or 1, R, R) in [0, 1], at the last maps."""
        first, last = self._maps if maps is None else maps
        x = 2 * images.expand(-1, 3, -1, -1) - 1
        x = F.gelu(_norm(self.lift(x, first)))
        rest = x
        for layer in self.block:
            rest = F.gelu(_norm(layer(rest, first, first, padding=self.config.kernel_size // 2)))
        x = _norm(F.gelu(x + rest))
        x = F.gelu(F.max_pool2d(x.flatten(1, 2), 2).unflatten(1, x.shape[1:3]))
        return F.gelu(_norm(self.last(x, last, first)))

    def embed(self, images: Tensor, maps: tuple[MapPair, MapPair] | None = None) -> Tensor:
        """Vectors (B, C) of pictures (B, 3 or 1, R, R): the largest of each channel over places and maps."""
        return self.forward_features(images, maps).amax(dim=(2, 3, 4))

    def forward(self, images: Tensor, maps: tuple[MapPair, MapPair] | None = None) -> Tensor:
        """Logits (B, classes) of pictures (B, 3 or 1, R, R)."""
        return self.head(self.embed(images, maps))

    def encode(self, inputs: Tensor) -> Tensor:
        """Vectors (B, C) of pictures (B, 3, H, W) in [0, 1]."""
        return self.embed(resized(inputs, self.config.resolution))

    def save(self, directory: Path) -> None:
        """Write the encoder with its classifier."""
        save_encoder(self, "lie_decompositions", self.config, directory)


class LabelObjective(nn.Module):
    """Cross-entropy of labels; pictures are not changed, as what they look like from elsewhere is not to be shown."""

    needs = (LABEL,)

    def __init__(self, encoder: AffineEquivariantEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def batch(self, frames: Frames, rows: NDArray[np.int64], generator: torch.Generator) -> dict[str, Tensor]:
        """Pictures (B, 3, R, R), labels (B,), and maps with their inverses (2, G, 2, 2) of first and last layers."""
        first, last = self.encoder.training_maps(generator)
        return {
            "images": resized(frames.pixels(rows), self.encoder.config.resolution),
            "labels": torch.from_numpy(frames.columns[LABEL][rows].astype(np.int64)),
            "maps": torch.stack([first.g, last.g]),
            "inverses": torch.stack([first.inverse, last.inverse]),
        }

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """The loss of a batch, and how often it is wrong."""
        first, last = (MapPair(*pair) for pair in zip(batch["maps"], batch["inverses"], strict=True))
        logits = self.encoder(batch["images"], (first, last))
        wrong = (logits.argmax(dim=1) != batch["labels"]).float().mean()
        return Loss(F.cross_entropy(logits, batch["labels"]), {"wrong": wrong})


def new(config: Config, frames: Frames, seed: int) -> LabelObjective:
    """An untrained encoder of the classes of some frames.

    Raises:
        ValueError: frames without labels, or with more classes than the configuration.
    """
    frames.need((LABEL,))
    classes = int(frames.columns[LABEL].max()) + 1
    if config.classes and config.classes < classes:
        raise ValueError(f"classes: expected at least {classes}, found {config.classes}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LabelObjective(AffineEquivariantEncoder(replace(config, classes=config.classes or classes)))


def load(directory: Path) -> AffineEquivariantEncoder:
    """Read what `AffineEquivariantEncoder.save` wrote; in evaluation mode.

    Raises:
        ValueError: damaged; names the file.
    """
    content = read_config(directory)["config"]
    try:
        encoder = AffineEquivariantEncoder(Config(**content))
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{directory}: expected the configuration of lie_decompositions: {error}") from error
    load_weights(encoder, directory)
    return encoder.eval()


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[1:])
