"""`MadeleineEncoder`: pictures of a camera to vectors that other sensors took part in learning, and its objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.data.augmentations import jitter_colors
from representation.data.frames import DEPTH, SEGMENTATION, Frames
from representation.interface import DenseEncoder, Loss, Modality
from representation.pretraining.madeleine.bag_encoder import BagEncoder
from representation.pretraining.madeleine.objective import FEWEST, LossConfig, multi_modal_loss
from representation.pretraining.madeleine.sensors import (
    IMAGE,
    MEASURED_FRAMES,
    depth_range,
    sensor_pictures,
    sensors_of,
)
from representation.pretraining.small_encoder import resized
from representation.registry import load_encoder

SYSTEM, BASE = "madeleine", "base"
LEAST_STD = 0.05


@dataclass(frozen=True)
class Config:
    """A run of some minutes on two cores.

    Attributes:
        base: directory of a frozen encoder that gives features of the parts of pictures (clip, segmentation, mochi,
            ...); without one a token is the pixels of a patch.
        resolution: side of the pictures, pixels; a multiple of the patch.
        patch: side of a patch, pixels, where there is no base.
        sensors: columns of the frames that the camera's pictures are paired with; those that the frames have are taken.
        width: numbers of a vector.
        heads: of the attention.
        token_dim: numbers of a token in the local loss, and of a part of a picture in a policy.
        codes: whether tokens get a code of their sensor.
        dropout: after each layer of the tokens; the paper has 0.1, and 0.25 in the attention.
        gate_dropout: in the attention.
        temperature: of InfoNCE; the released 0.001 is for the vectors of large slides.
        local_weight: of the transport between tokens, a sum over the batch.
        intra_weight: of InfoNCE of two halves of each bag.
        n_tokens: of each bag that are transported.
        jitter: strength of the change of the camera's colours in training.
        near_far: depths in metres of white and black; measured in the frames by default.
    """

    base: str = ""
    resolution: int = 48
    patch: int = 12
    sensors: tuple[str, ...] = (DEPTH, SEGMENTATION)
    width: int = 128
    heads: int = 4
    token_dim: int = 32
    codes: bool = False
    dropout: float = 0.0
    gate_dropout: float = 0.0
    temperature: float = 0.1
    local_weight: float = 0.001
    intra_weight: float = 0.0
    n_tokens: int = 12
    jitter: float = 0.2
    near_far: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if not 1 <= self.patch <= self.resolution or self.resolution % self.patch:
            raise ValueError(
                f"resolution, patch: expected a multiple of the patch, found {self.resolution} and {self.patch}"
            )
        if not self.sensors or IMAGE in self.sensors or len(set(self.sensors)) < len(self.sensors):
            raise ValueError(f"sensors: expected some but {IMAGE}, each once, found {self.sensors}")

    @property
    def loss(self) -> LossConfig:
        """The terms of the loss."""
        return LossConfig(self.temperature, 1.0, self.local_weight, self.intra_weight, self.n_tokens)


class TokenScale(nn.Module):
    """Brings each number of the parts of a sensor's pictures to mean 0 and standard deviation 1.

    What all pictures of a sensor share would otherwise outweigh what tells them apart.

    Args:
        sensors: M.
        shape: (C, h, w) of the parts of a picture.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, sensors: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(sensors, *shape))
        self.register_buffer("std", torch.ones(sensors, *shape))

    def measure(self, number: int, parts: Tensor) -> None:
        """Take mean and standard deviation of a sensor from parts (B, C, h, w)."""
        self.mean[number], self.std[number] = parts.mean(dim=0), parts.std(dim=0).clamp_min(LEAST_STD)

    def forward(self, parts: Tensor, number: int) -> Tensor:
        """Parts (B, C, h, w) of a sensor to such parts."""
        return (parts - self.mean[number]) / self.std[number]


class MadeleineEncoder(nn.Module):
    """An `Encoder` of pictures and a `DenseEncoder`: tokens of parts of a picture, summed up by attention.

    Args:
        config: with its sensors.
        base: of the tokens; see `Config`. It is not trained.
        generator: draws the first weights.

    Raises:
        ValueError: the base does not tell what is in the parts of a picture.
    """

    modality: Modality = "image"

    def __init__(self, config: Config, base: Any = None, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if base is not None and not (isinstance(base, DenseEncoder) and isinstance(base, nn.Module)):
            raise ValueError(f"base: expected an encoder of the parts of pictures, found {type(base).__name__}")
        self.config, self.width, self.modalities = config, config.width, (IMAGE, *config.sensors)
        self.base: Any = base
        if base is not None:
            self.base.eval().requires_grad_(False)
        with torch.no_grad():
            parts = self.parts(torch.zeros(1, 3, config.resolution, config.resolution))
        width, self.grid = parts.shape[1], tuple(parts.shape[2:])
        self.scale = TokenScale(len(self.modalities), tuple(parts.shape[1:]))
        places = self.grid[0] * self.grid[1]
        codes = len(self.modalities) if config.codes else 0
        self.bag = BagEncoder(
            width + places,
            config.width,
            config.heads,
            config.token_dim,
            codes,
            dropout=config.dropout,
            gate_dropout=config.gate_dropout,
            generator=generator,
        )

    def train(self, mode: bool = True) -> MadeleineEncoder:
        """Switch to training; the base stays in evaluation mode."""
        super().train(mode)
        if self.base is not None:
            self.base.eval()
        return self

    def tokens(self, pictures: Tensor, sensor: str) -> Tensor:
        """Tokens (B, N, d) of pictures (B, 3, H, W) in [0, 1] of a sensor: what is in each part, and which it is.

        Raises:
            ValueError: it is not trained with that sensor.
        """
        if sensor not in self.modalities:
            raise ValueError(f"sensor: expected one of {', '.join(self.modalities)}, found {sensor!r}")
        scaled = self.scale(self.parts(pictures), self.modalities.index(sensor))
        parts = scaled.flatten(2).transpose(1, 2)
        places = torch.eye(parts.shape[1], device=parts.device, dtype=parts.dtype).expand(len(parts), -1, -1)
        return torch.cat([parts, places], dim=2)

    def encode(self, inputs: Tensor) -> Tensor:
        """Vectors (B, width) of pictures (B, 3, H, W) in [0, 1] of the camera."""
        return self.encode_sensor(inputs, IMAGE)

    def encode_sensor(self, pictures: Tensor, sensor: str) -> Tensor:
        """Vectors (B, width) of pictures (B, 3, H, W) of a sensor, as `sensor_pictures` makes them.

        Raises:
            ValueError: it was not trained with that sensor.
        """
        return self.bag(self.tokens(pictures, sensor), self.modalities.index(sensor)).embedding

    def dense(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (B, token_dim, h, w) of the parts of pictures (B, 3, H, W) in [0, 1] of the camera.

        Returns:
            The vectors, and how much the heads attend to each part, on average (B, h, w).
        """
        found = self.bag(self.tokens(images, IMAGE), 0)
        return found.tokens.transpose(1, 2).unflatten(2, self.grid), found.attention.mean(dim=2).unflatten(1, self.grid)

    def save(self, directory: Path) -> None:
        """Write the weights, those of the bag encoder with the released names after `bag.`, and the base in `base/`."""
        save_encoder(self.kept(), SYSTEM, self.config, directory)
        if self.base is not None:
            self.base.save(directory / BASE)

    def kept(self) -> nn.ModuleDict:
        """What the weights of the encoder are but those of the base."""
        return nn.ModuleDict({"bag": self.bag, "scale": self.scale})

    def parts(self, pictures: Tensor) -> Tensor:
        """What is in the parts (B, C, h, w) of pictures (B, 3, H, W), by the base or by their pixels."""
        pictures = resized(pictures, self.config.resolution)
        if self.base is not None:
            return self.base.dense(pictures)[0]
        return F.pixel_unshuffle(2 * pictures - 1, self.config.patch)


class MadeleineObjective(nn.Module):
    """The camera's and each other sensor's bags of the same frame find each other.

    Args:
        encoder: what is trained.
    """

    needs = ()

    def __init__(self, encoder: MadeleineEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def batch(self, frames: Frames, rows: NDArray[np.int64], generator: torch.Generator) -> dict[str, Tensor]:
        """Pictures (B, M, 3, R, R) of all sensors, which of them there are (B, M), and a seed."""
        config, pictures, available = self.encoder.config, [], []
        for sensor in self.encoder.modalities:
            seen, there = sensor_pictures(frames, rows, sensor, config.near_far)
            seen = resized(seen, config.resolution)
            pictures.append(jitter_colors(seen, config.jitter, generator) if sensor == IMAGE else seen)
            available.append(there)
        seed = torch.randint(2**62, (), generator=generator)
        return {"pictures": torch.stack(pictures, dim=1), "available": torch.stack(available, dim=1), "seed": seed}

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """The loss; its parts are sums over the sensors."""
        pictures, encoder = batch["pictures"], self.encoder
        tokens = torch.stack([encoder.tokens(pictures[:, m], s) for m, s in enumerate(encoder.modalities)], dim=1)
        seed, device = int(batch["seed"]), tokens.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)  # dropout has no generator of its own
            loss = multi_modal_loss(
                encoder.bag, tokens, batch["available"], encoder.config.loss, torch.Generator().manual_seed(seed)
            )
        return Loss(loss.total, {name: part.detach() for name, part in loss.parts.items()})


def new(config: Config, frames: Frames, seed: int) -> MadeleineObjective:
    """An untrained encoder for the sensors of some frames.

    Raises:
        ValueError: the frames have none of the sensors, or the base is not for it.
    """
    sensors = sensors_of(frames, config.sensors)
    near_far = config.near_far
    if DEPTH in sensors and near_far == Config.near_far:
        near_far = depth_range(frames)
    base = load_encoder(Path(config.base)) if config.base else None
    config = replace(config, sensors=sensors, near_far=near_far)
    encoder = MadeleineEncoder(config, base, torch.Generator().manual_seed(seed))
    rows = np.arange(0, len(frames), max(1, len(frames) // MEASURED_FRAMES))
    for number, sensor in enumerate(encoder.modalities):
        pictures, there = sensor_pictures(frames, rows, sensor, near_far)
        if int(there.sum()) < FEWEST:
            raise ValueError(f"{sensor}: expected {FEWEST} frames or more that have it, found {int(there.sum())}")
        with torch.no_grad():
            encoder.scale.measure(number, encoder.parts(pictures[there]))
    return MadeleineObjective(encoder)


def load(directory: Path) -> MadeleineEncoder:
    """Read an encoder that was saved; in evaluation mode.

    Raises:
        ValueError: damaged; names the file.
    """
    try:
        content = dict(read_config(directory)["config"])
        content |= {name: tuple(content[name]) for name in ("sensors", "near_far")}
        base = load_encoder(directory / BASE) if content["base"] else None
        encoder = MadeleineEncoder(Config(**content), base)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{directory}: expected the configuration of a {SYSTEM} encoder: {error}") from error
    load_weights(encoder.kept(), directory)
    return encoder.eval()
