"""`FeatureEncoder` and its `Objective`: a U-Net that `representation.pretrain` trains to tell noise, as an encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from representation.checkpoint import load_weights, read_config, save_config, save_encoder
from representation.data.frames import Frames
from representation.generative.adm_unet import RELEASED_256, ADMUNet, UNetConfig, from_json, load_released
from representation.generative.denoiser import LINEAR, denoising_loss, noisy_batch
from representation.generative.diffusion_classification.diffusers_adapter import DiffusersAdapter
from representation.generative.diffusion_classification.features import (
    block_shapes,
    extract,
    middle_of_the_way_up,
    pooled,
)
from representation.interface import Loss, Modality
from representation.pretraining.small_encoder import resized

SYSTEM, UNET = "diffusion_classification", "unet"


@dataclass(frozen=True)
class Config(UNetConfig):
    """Sizes of the U-Net, and which of its features are read.

    Attributes:
        kind: "adm" for `ADMUNet`, "diffusers" for a `UNet2DModel` of these sizes.
        t: step whose noise is added.
        block: that is read; 0 for the one at 5/18 of the way up.
        pool: parts of each side that are averaged over.
        draws: of noise, over which features are averaged; each is one pass.
        noise_seed: of the draws, which are the same for all pictures.
    """

    kind: Literal["adm", "diffusers"] = "adm"
    t: int = 90
    block: int = 0
    pool: int = 2
    draws: int = 1
    noise_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in ("adm", "diffusers"):
            raise ValueError(f"kind: expected adm or diffusers, found {self.kind!r}")
        if self.block < 0 or self.pool < 1 or self.draws < 1:
            found = f"{self.block}, {self.pool} and {self.draws}"
            raise ValueError(f"block, pool, draws: expected at least 0, 1 and 1, found {found}")
        if self.picture_channels != 3 or self.out_channels < 3:
            found = f"{self.picture_channels} and {self.out_channels}"
            raise ValueError(f"picture_channels, out_channels: expected 3, and at least as many, found {found}")
        LINEAR.check(self.t)

    @property
    def sizes(self) -> UNetConfig:
        """Of the U-Net alone."""
        return UNetConfig(**{field.name: getattr(self, field.name) for field in fields(UNetConfig)})


class FeatureEncoder(nn.Module):
    """An `Encoder` and `DenseEncoder` of pictures: pooled features of one block of a U-Net.

    Args:
        config: which.
        unet: the network; a new one of a seed if left out.
        seed: of new weights.

    Attributes:
        width: C_b d d numbers of a vector.
        block: that is read.
    """

    modality: Modality = "image"

    def __init__(self, config: Config, unet: ADMUNet | DiffusersAdapter | None = None, seed: int = 0) -> None:
        super().__init__()
        if unet is None:
            kind = DiffusersAdapter.from_sizes if config.kind == "diffusers" else ADMUNet
            unet = kind(config.sizes, seed)
        self.config, self.unet = config, unet
        self.block = config.block or middle_of_the_way_up(unet)
        if self.block > unet.num_blocks:
            raise ValueError(f"block: expected one from 1 to {unet.num_blocks}, found {self.block}")
        self.width = block_shapes(unet, self.block)[self.block][0] * config.pool**2
        shape = (config.draws, 3, unet.resolution, unet.resolution)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(config.noise_seed))
        self.register_buffer("noise", noise, persistent=False)

    def features(self, inputs: Tensor) -> Tensor:
        """Features (B, C, h, w) of pictures (B, 3, H, W) in [0, 1]."""
        x = (2 * resized(inputs, self.unet.resolution) - 1).contiguous()
        return extract(self.unet, x, self.config.t, [self.block], self.noise)[self.block]

    def encode(self, inputs: Tensor) -> Tensor:
        """Vectors (B, width) of pictures (B, 3, H, W) in [0, 1]."""
        return pooled(self.features(inputs), self.config.pool)

    def dense(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, C, h, w) of pictures (B, 3, H, W) in [0, 1], and their mean square at each place (B, h, w)."""
        features = self.features(images)
        return features, features.square().mean(dim=1)

    def reading(self, t: int, block: int, pool: int, draws: int | None = None) -> FeatureEncoder:
        """The same network, read elsewhere."""
        draws = self.config.draws if draws is None else draws
        return FeatureEncoder(replace(self.config, t=t, block=block, pool=pool, draws=draws), self.unet)

    def save(self, directory: Path) -> None:
        """Write the encoder, with the whole network."""
        if isinstance(self.unet, DiffusersAdapter):
            save_config(SYSTEM, self.config, directory)
            self.unet.save(directory / UNET)
        else:
            save_encoder(self, SYSTEM, self.config, directory)


class DenoisingObjective(nn.Module):
    """The U-Net tells the noise in pictures, at steps that are drawn evenly."""

    needs = ()

    def __init__(self, encoder: FeatureEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def batch(self, frames: Frames, rows: NDArray, generator: torch.Generator) -> dict[str, Tensor]:
        """See `noisy_batch`."""
        return noisy_batch(resized(frames.pixels(rows), self.encoder.unet.resolution), generator)

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """Mean squared error of the noise."""
        loss = denoising_loss(self.encoder.unet, batch["images"], batch["t"], batch["noise"])
        return Loss(loss, {"noise": loss.detach()})


def new(config: Config, frames: Frames, seed: int) -> DenoisingObjective:
    """An untrained network."""
    return DenoisingObjective(FeatureEncoder(config, seed=seed))


def load(directory: Path) -> FeatureEncoder:
    """Read an encoder that was saved; in evaluation mode.

    Raises:
        ValueError: damaged; names the file.
    """
    try:
        config = from_json(read_config(directory)["config"], Config)
    except TypeError as error:
        raise ValueError(f"{directory}: expected the configuration of a {SYSTEM} encoder: {error}") from error
    if config.kind == "diffusers":
        return FeatureEncoder(config, DiffusersAdapter.from_directory(directory / UNET)).eval()
    encoder = FeatureEncoder(config)
    load_weights(encoder, directory)
    return encoder.eval()


def open_denoiser(path: Path) -> FeatureEncoder:
    """An encoder over any network that is there: a run of `representation.pretrain` or an encoder, a `UNet2DModel` that
    diffusers saved, or the released 256-pixel network of guided diffusion (a file); in evaluation mode.

    Raises:
        FileNotFoundError: none of them.
        ValueError: damaged, of another system, or a network of pictures without colours.
    """  # noqa: D205
    if path.is_file():
        return FeatureEncoder(_config_of(RELEASED_256), load_released(path)).eval()
    if (path / "config.json").is_file():
        unet = DiffusersAdapter.from_directory(path)
        return FeatureEncoder(_config_of(_sizes_of(unet), kind="diffusers"), unet).eval()
    inner = path / "encoder"
    directory = inner if inner.is_dir() else path
    system = read_config(directory)["system"]
    if system != SYSTEM:
        raise ValueError(f"{directory}: expected an encoder of {SYSTEM}, found one of {system}")
    return load(directory)


def _config_of(sizes: UNetConfig, **others: Any) -> Config:
    return Config(**{field.name: getattr(sizes, field.name) for field in fields(sizes)}, **others)


def _sizes_of(unet: DiffusersAdapter) -> UNetConfig:
    """What is known of the sizes of a network that is not ours; the whole of it stands in its own configuration."""
    config = unet.model.config
    channels = tuple(config.block_out_channels)
    return UNetConfig(
        resolution=unet.resolution,
        channels=channels[0],
        multipliers=tuple(max(1, one // channels[0]) for one in channels),
        depth=config.layers_per_block,
        attention=(),
        picture_channels=config.in_channels,
        out_channels=config.out_channels,
        groups=config.norm_num_groups,
    )
