"""What the systems of this folder share when they are trained on pictures: a backbone, a head, and labelled views."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.data.augmentations import jitter_colors, random_squares
from representation.data.frames import LABEL, Frames
from representation.interface import Encoder, Modality
from representation.pretraining.small_encoder import SmallEncoder, load_small_encoder
from representation.registry import load_encoder

BACKBONE = "backbone"


@dataclass(frozen=True)
class BackboneConfig:
    """A new small encoder.

    Attributes:
        resolution: side of the pictures, pixels.
        width: numbers of a vector.
    """

    resolution: int = 32
    width: int = 128


@dataclass(frozen=True)
class PictureConfig:
    """What is set alike for all systems of this folder.

    Attributes:
        base: directory of an encoder to start from; a new small one if empty.
        resolution: side of the new one's pictures, pixels.
        width: numbers of the new one's vector.
        smallest_crop: side of the smallest random square, as a share of the picture's.
        jitter: strength of the random changes of colour.
    """

    base: str = ""
    resolution: int = 32
    width: int = 128
    smallest_crop: float = 0.8
    jitter: float = 0.2


def new_backbone(config: PictureConfig, system: str, generator: torch.Generator) -> Encoder:
    """The encoder that a configuration starts from."""
    if config.base:
        base: Any = load_encoder(Path(config.base))
        return base.train()
    return SmallEncoder(system, BackboneConfig(config.resolution, config.width), generator)


def features_of(backbone: Any, inputs: Tensor) -> Tensor:
    """Vectors (B, d) by an `Encoder`, or by any callable."""
    return backbone.encode(inputs) if isinstance(backbone, Encoder) else backbone(inputs)


def modality_of(backbone: Any) -> Modality:
    """What a backbone takes; pictures if it does not say."""
    return getattr(backbone, "modality", "image")


def linear_map(feat_dim: int, width: int, project: bool) -> nn.Module:
    """What brings features (B, feat_dim) to a head's (B, width); the identity unless `project`.

    Raises:
        ValueError: the identity, and the features are not so many.
    """
    if project:
        return nn.Linear(feat_dim, width)
    if feat_dim != width:
        raise ValueError(f"backbone: expected {width} numbers, as no linear map follows it, found {feat_dim}")
    return nn.Identity()


def save_headed(backbone: Encoder, head: nn.Module, system: str, config: Any, directory: Path) -> None:
    """Write the head of an encoder and, in `backbone/`, what stands below it."""
    save_encoder(head, system, config, directory)
    backbone.save(directory / BACKBONE)


def load_headed(directory: Path, system: str, build: Callable[[Encoder, Mapping[str, Any]], Any]) -> Any:
    """Read what `save_headed` wrote, or a new small encoder that stood below a head; in evaluation mode.

    Args:
        directory: the encoder's.
        system: its name in the registry.
        build: makes an encoder with a `head` out of its backbone and its configuration.

    Raises:
        ValueError: damaged; names the file.
    """
    if not (directory / BACKBONE).is_dir():
        return load_small_encoder(system, BackboneConfig, directory)
    config = read_config(directory)["config"]
    try:
        encoder = build(load_encoder(directory / BACKBONE), config)
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{directory}: expected the configuration of a {system} encoder: {error}") from error
    load_weights(encoder.head, directory)
    return encoder.eval()


def views_of(config: PictureConfig, frames: Frames, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
    """Random squares (B, 3, H, H) with changed colours."""
    pixels = frames.pixels(rows)
    squares = random_squares(pixels, min(pixels.shape[-2:]), config.smallest_crop, generator)
    return jitter_colors(squares, config.jitter, generator)


def labels_of(frames: Frames, rows: NDArray[np.int64] | None = None) -> Tensor:
    """Classes (B,) of some frames; of all if None."""
    labels = frames.columns[LABEL] if rows is None else frames.columns[LABEL][rows]
    return torch.from_numpy(labels.astype(np.int64))
