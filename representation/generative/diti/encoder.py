"""`DiTiEncoder` and its `Objective`: DiTi as a system that `representation.pretrain` trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.data.frames import Frames
from representation.generative.adm_unet import ADMUNet, UNetConfig, from_json
from representation.generative.denoiser import LINEAR, noisy_batch
from representation.generative.diffusion_classification import open_denoiser
from representation.generative.diti.model import DiTi, Mode, PictureEncoder
from representation.generative.diti.slicer import TimeSlicer
from representation.interface import Loss, Modality
from representation.pretraining.small_encoder import resized

SYSTEM = "diti"


@dataclass(frozen=True)
class Config:
    """Sizes; the paper has 512 numbers in 64 bins, and 64 channels.

    Attributes:
        denoiser: directory of a run of `diffusion_classification`, whose U-Net is corrected; it is needed to train.
        latent_dim: numbers d of a vector.
        k: bins.
        stages: ends of stages of steps, see `TimeSlicer`.
        dims: numbers of each stage.
        mode: which numbers learn at a step, see `DiTi`.
        channels: of the encoder's first convolution.
        groups: of the encoder's group norms.
        first: number that a vector begins with; more than 0 leaves finer ones out.
        last: number that it ends before; 0 for all of them.
    """

    denoiser: str = ""
    latent_dim: int = 64
    k: int = 16
    stages: tuple[int, ...] = ()
    dims: tuple[int, ...] = ()
    mode: Mode = "base"
    channels: int = 32
    groups: int = 16
    first: int = 0
    last: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.first < (self.last or self.latent_dim) <= self.latent_dim:
            found = f"{self.first} and {self.last}"
            raise ValueError(f"first, last: expected some numbers of {self.latent_dim}, found {found}")


class DiTiEncoder(nn.Module):
    """An `Encoder` of pictures; it keeps the network that decodes.

    Args:
        config: sizes.
        unet: the network that is corrected.
        seed: of the weights.

    Attributes:
        width: numbers of a vector, from `first` to `last`.
        model: the whole.
    """

    modality: Modality = "image"

    def __init__(self, config: Config, unet: nn.Module, seed: int = 0) -> None:
        super().__init__()
        slicer = TimeSlicer(config.latent_dim, config.k, LINEAR.T, config.stages, config.dims)
        encoder = PictureEncoder(unet.resolution, config.latent_dim, config.channels, config.groups, seed)
        self.config, self.model = config, DiTi(unet, encoder, slicer, config.mode, seed)
        self.width = (config.last or config.latent_dim) - config.first

    def pictures(self, inputs: Tensor) -> Tensor:
        """(B, 3, R, R) in [-1, 1] of pictures (B, 3, H, W) in [0, 1]."""
        return (2 * resized(inputs, self.model.shift.unet.resolution) - 1).contiguous()

    def encode(self, inputs: Tensor) -> Tensor:
        """Vectors (B, width) of pictures (B, 3, H, W) in [0, 1]; first what is fine, last what is coarse."""
        return self.model.encode(self.pictures(inputs))[:, self.config.first : self.config.first + self.width]

    def taking(self, first: int, last: int) -> DiTiEncoder:
        """An encoder of the same weights that gives some numbers alone."""
        other = DiTiEncoder(replace(self.config, first=first, last=last), ADMUNet(self.model.shift.unet.config))
        other.load_state_dict(self.state_dict())
        return other.eval()

    def save(self, directory: Path) -> None:
        """Write the encoder, with all that decodes."""
        content = {**asdict(self.config), "denoiser": "", "unet": asdict(self.model.shift.unet.config)}
        save_encoder(self, SYSTEM, content, directory)


class DiTiObjective(nn.Module):
    """What noise takes away comes back by the vector."""

    needs = ()

    def __init__(self, encoder: DiTiEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def batch(self, frames: Frames, rows: NDArray, generator: torch.Generator) -> dict[str, Tensor]:
        """See `noisy_batch`."""
        return noisy_batch(resized(frames.pixels(rows), self.encoder.model.shift.unet.resolution), generator)

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """See `DiTi.loss`."""
        loss = self.encoder.model.loss(batch["images"], batch["t"], batch["noise"])
        return Loss(loss, {"noise": loss.detach()})


def new(config: Config, frames: Frames, seed: int) -> DiTiObjective:
    """An untrained encoder over a trained network.

    Raises:
        ValueError: no trained network is named, or it is one of diffusers.
    """
    if not config.denoiser:
        raise ValueError(
            "denoiser: expected --set denoiser=RUN with a run of representation.pretrain --system "
            "diffusion_classification, found none"
        )
    return DiTiObjective(DiTiEncoder(config, open_denoiser(Path(config.denoiser)).unet, seed))


def load(directory: Path) -> DiTiEncoder:
    """Read an encoder that was saved; in evaluation mode.

    Raises:
        ValueError: damaged; names the file.
    """
    content = dict(read_config(directory)["config"])
    try:
        sizes = from_json(content.pop("unet"), UNetConfig)
        config = from_json(content, Config)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{directory}: expected the configuration of a {SYSTEM} encoder: {error}") from error
    encoder = DiTiEncoder(config, ADMUNet(sizes))
    load_weights(encoder, directory)
    return encoder.eval()
