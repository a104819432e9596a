"""`BinaryEncoder`: pictures to bits as an `Encoder`, with a prior of these bits once one is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.generative.binary_latent_diffusion.autoencoder import AutoencoderConfig, BinaryAutoencoder
from representation.generative.binary_latent_diffusion.denoiser import BinaryDenoiser, DenoiserConfig
from representation.generative.binary_latent_diffusion.diffusion import BernoulliDiffusion, Predict, TimeWeight
from representation.generative.binary_latent_diffusion.schedule import BernoulliSchedule, Kind, Reverse
from representation.interface import Modality
from representation.pretraining.small_encoder import resized

SYSTEM = "binary_latent_diffusion"


@dataclass(frozen=True)
class Config(AutoencoderConfig):
    """An autoencoder, or a prior over the bits of one that is trained; first the sizes of `AutoencoderConfig`.

    Attributes:
        adversarial_start: forward passes after which a discriminator begins, 30,000 in the paper; 0 has none.
        discriminator_channels: of its first layer.
        perceptual: directory of a frozen encoder of pictures and their places, whose features are to come back too, in
            place of LPIPS; empty for none.
        perceptual_weight: of these.
        tokenizer: directory of the autoencoder over whose frozen bits a prior is trained; empty to train an
            autoencoder. The sizes of the autoencoder are then that one's.
        total_steps: T of the prior.
        schedule: how bits are lost.
        predict: what the denoiser tells.
        reverse: by which earlier steps are sampled.
        aux: weight of the cross-entropy of the earlier step.
        balance: whether ones and zeros weigh alike; the bound is then of no use.
        focal: exponent of what is still wrong.
        time_weight: of the steps.
        width: of the denoiser's tokens.
        layers: of the denoiser.
        heads: of its attention.
        classes: the prior draws bits of a class, by the column `label`, which has so many; 0 knows none.
    """

    adversarial_start: int = 0
    discriminator_channels: int = 32
    perceptual: str = ""
    perceptual_weight: float = 1.0
    tokenizer: str = ""
    total_steps: int = 64
    schedule: Kind = "linear"
    predict: Predict = "flip"
    reverse: Reverse = "plugin"
    aux: float = 0.1
    balance: bool = False
    focal: float = 0.0
    time_weight: TimeWeight = "mean"
    width: int = 64
    layers: int = 3
    heads: int = 4
    classes: int = 0

    def denoiser(self) -> DenoiserConfig:
        """Sizes of the denoiser."""
        return DenoiserConfig(self.bits, self.grid, self.total_steps, self.width, self.layers, self.heads, self.classes)


class BinaryEncoder(nn.Module):
    """An `Encoder` of pictures; its vectors are 2 p - 1 of the bits' probabilities, so that their signs are the bits.

    Args:
        config: sizes.
        bits_of: key of the autoencoder over whose bits the prior is; empty without a prior.
        seed: of the weights.
    """

    modality: Modality = "image"

    def __init__(self, config: Config, bits_of: str = "", seed: int = 0) -> None:
        super().__init__()
        self.config, self.bits_of, self.width = config, bits_of, config.total_bits
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.autoencoder = BinaryAutoencoder(config)
            self.prior = _prior(config) if bits_of else None

    def encode(self, inputs: Tensor) -> Tensor:
        """Vectors (B, c h w) in [-1, 1] of pictures (B, 3, H, W) in [0, 1]."""
        return 2 * self.autoencoder.probabilities(self.resized(inputs)).flatten(1) - 1

    def bits(self, inputs: Tensor) -> Tensor:
        """Bits (B, c, h, w) uint8 of pictures (B, 3, H, W) in [0, 1]."""
        return self.autoencoder.encode(self.resized(inputs))

    def resized(self, inputs: Tensor) -> Tensor:
        """Pictures (B, 3, R, R) of pictures (B, 3, H, W)."""
        return resized(inputs, self.config.resolution)

    def needed_prior(self) -> BernoulliDiffusion:
        """The prior.

        Raises:
            ValueError: there is none yet.
        """
        if self.prior is None:
            raise ValueError(f"{SYSTEM}: expected a prior over the bits, trained with --set tokenizer=RUN, found none")
        return self.prior

    def save(self, directory: Path) -> None:
        """Write the encoder, with what decodes its bits and with the prior."""
        config = asdict(self.config) | {"tokenizer": "", "perceptual": ""}
        save_encoder(self, SYSTEM, {"sizes": config, "bits_of": self.bits_of}, directory)


def tokens(bits: Tensor) -> Tensor:
    """Bits (B, c, h, w) as the prior takes them, (B, h w, c)."""
    return bits.flatten(2).mT


def untokened(found: Tensor, config: AutoencoderConfig) -> Tensor:
    """Bits (B, c, h, w) of those of the prior (B, h w, c)."""
    return found.mT.unflatten(2, config.grid)


def load(directory: Path) -> BinaryEncoder:
    """Read an encoder that was saved.

    Raises:
        ValueError: damaged; names the file.
    """
    content = read_config(directory)["config"]
    try:
        encoder = BinaryEncoder(Config(**_tuples(content["sizes"])), str(content["bits_of"]))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{directory}: expected the configuration of a {SYSTEM} encoder: {error}") from error
    load_weights(encoder, directory)
    return encoder.eval()


def _tuples(sizes: Any) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in sizes.items()}


def _prior(config: Config) -> BernoulliDiffusion:
    return BernoulliDiffusion(
        BinaryDenoiser(config.denoiser()),
        BernoulliSchedule(config.total_steps, config.schedule),
        config.predict,
        config.reverse,
        config.aux,
        config.balance,
        config.focal,
        config.time_weight,
    )
