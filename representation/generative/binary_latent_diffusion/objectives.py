"""What trains: pictures that come back from their bits, and then a prior over the bits of what was so trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from representation.checkpoint import encoder_key
from representation.data.frames import LABEL, Frames
from representation.generative.binary_latent_diffusion.adversary import (
    DRAWS,
    PatchDiscriminator,
    adaptive_weight,
    augmented,
    feature_distance,
    hinge_loss,
)
from representation.generative.binary_latent_diffusion.autoencoder import AutoencoderConfig
from representation.generative.binary_latent_diffusion.diffusion import DROPPED_LABELS
from representation.generative.binary_latent_diffusion.encoder import SYSTEM, BinaryEncoder, Config, tokens
from representation.interface import DenseEncoder, Loss
from representation.registry import load_encoder


class AutoencoderObjective(nn.Module):
    """Pictures come back from their bits; a discriminator, if there is one, learns in the same step.

    Args:
        config: sizes.
        seed: of the weights.

    Raises:
        ValueError: the encoder of the perceptual distance tells nothing of places.
    """

    needs = ()

    def __init__(self, config: Config, seed: int) -> None:
        super().__init__()
        self.encoder = BinaryEncoder(config, seed=seed)
        self.discriminator: PatchDiscriminator | None = None
        if config.adversarial_start:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.discriminator = PatchDiscriminator(config.discriminator_channels)
        self.seen: nn.Module | None = None
        if config.perceptual:
            seen = load_encoder(Path(config.perceptual))
            if not isinstance(seen, DenseEncoder) or not isinstance(seen, nn.Module):
                raise ValueError(f"perceptual: expected an encoder of places, found {type(seen).__name__}")
            self.seen = seen.requires_grad_(False)
        self.register_buffer("passes", torch.zeros((), dtype=torch.long))
        self.passes: Tensor

    def batch(self, frames: Frames, rows: NDArray, generator: torch.Generator) -> dict[str, Tensor]:
        """Pictures (B, 3, R, R), and the numbers by which bits are drawn and pictures augmented."""
        config = self.encoder.config
        found = {"images": self.encoder.resized(frames.pixels(rows)).clamp(0, 1)}
        found["uniform"] = torch.rand(len(rows), config.bits, *config.grid, generator=generator)
        if self.discriminator is not None:
            found["draws"] = torch.rand(3, len(rows), DRAWS, generator=generator).transpose(0, 1)
        return found

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """See `BinaryAutoencoder.loss`; with the features' distance, the judgement, and the discriminator's loss."""
        config, autoencoder, images = self.encoder.config, self.encoder.autoencoder, batch["images"]
        made = autoencoder(images, batch["uniform"])
        total, parts = autoencoder.loss_of(images, made)
        brought = parts["reconstruction"]
        if self.seen is not None:
            parts["perceptual"] = feature_distance(self.seen.eval(), images, made.pictures)
            brought = brought + config.perceptual_weight * parts["perceptual"]
            total = total + config.perceptual_weight * parts["perceptual"]
        if self.discriminator is not None:
            begun = float(int(self.passes) >= config.adversarial_start)
            real, fake, judged = batch["draws"].unbind(1)
            verdict = -self.discriminator.frozen(augmented(made.pictures, judged)).mean()
            parts["discriminator"] = hinge_loss(
                self.discriminator(augmented(images, real)),
                self.discriminator(augmented(made.pictures.detach(), fake)),
            )
            weight = torch.zeros(())
            if torch.is_grad_enabled() and begun:
                weight = adaptive_weight(brought, verdict, autoencoder.last_weight)
            parts["verdict"] = verdict
            total = total + weight * verdict + begun * parts["discriminator"]
        if self.training:
            self.passes += 1
        return Loss(total, parts)


class PriorObjective(nn.Module):
    """A Bernoulli diffusion over the frozen bits of an autoencoder.

    Args:
        config: sizes; `tokenizer` is the autoencoder's directory.
        frames: whose labels are checked, where classes are learned.
        seed: of the weights.

    Raises:
        ValueError: another encoder than one of these bits, or one that has a prior already.
    """

    def __init__(self, config: Config, frames: Frames, seed: int) -> None:
        super().__init__()
        directory = Path(config.tokenizer)
        tokenizer = load_encoder(directory)
        if not isinstance(tokenizer, BinaryEncoder) or tokenizer.bits_of:
            found = "one with a prior" if isinstance(tokenizer, BinaryEncoder) else type(tokenizer).__name__
            raise ValueError(f"tokenizer: expected an autoencoder of {SYSTEM}, found {found} in {directory}")
        self.needs: Sequence[str] = (LABEL,) if config.classes else ()
        frames.need(self.needs)
        if config.classes and not 0 <= frames.columns[LABEL].min() <= frames.columns[LABEL].max() < config.classes:
            raise ValueError(f"classes: expected labels below {config.classes}, found {frames.columns[LABEL].max()}")
        sizes = {field.name: getattr(tokenizer.config, field.name) for field in fields(AutoencoderConfig)}
        self.encoder = BinaryEncoder(replace(config, **sizes), encoder_key(directory), seed)
        self.encoder.autoencoder.load_state_dict(tokenizer.autoencoder.state_dict())
        self.encoder.autoencoder.requires_grad_(False)

    def batch(self, frames: Frames, rows: NDArray, generator: torch.Generator) -> dict[str, Tensor]:
        """Pictures (B, 3, R, R), steps (B,), what their noise is drawn by (B, L, c), and classes if there are any."""
        config = self.encoder.config
        found = {"images": self.encoder.resized(frames.pixels(rows)).clamp(0, 1)}
        found["t"] = torch.randint(1, config.total_steps + 1, (len(rows),), generator=generator)
        found["uniform"] = torch.rand(len(rows), config.grid[0] * config.grid[1], config.bits, generator=generator)
        if config.classes:
            dropped = bool(torch.rand((), generator=generator) < DROPPED_LABELS)
            labels = torch.from_numpy(frames.columns[LABEL][rows]).long()
            found["y"] = torch.full_like(labels, config.classes) if dropped else labels
        return found

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """See `BernoulliDiffusion.loss`."""
        images = batch["images"]
        # Bits that are stored are made in whole precision; so are those that are learned from.
        with torch.autocast(images.device.type, enabled=False):
            bits = self.encoder.bits(images)
        return self.encoder.needed_prior().loss_at(tokens(bits), batch["t"], batch["uniform"], batch.get("y"))


def new(config: Config, frames: Frames, seed: int) -> AutoencoderObjective | PriorObjective:
    """An untrained autoencoder, or an untrained prior over the bits of a trained one."""
    return PriorObjective(config, frames, seed) if config.tokenizer else AutoencoderObjective(config, seed)
