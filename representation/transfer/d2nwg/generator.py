"""`WeightGenerator`: vectoriser, autoencoder, dataset encoder and diffusion together, as they are trained and kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.transfer.d2nwg.diffusion import MLPDenoiser, UNetDenoiser, WeightDiffusion, scaled_beta
from representation.transfer.d2nwg.set_encoder import ClassMeans, DatasetEncoder, OrderedEncoder, check_support
from representation.transfer.d2nwg.vectorizer import WeightVectorizer, with_classes_in_order
from representation.transfer.d2nwg.weight_vae import MLPWeightVAE, WeightVAE

SYSTEM = "d2nwg"


@dataclass(frozen=True)
class ZooEntry:
    """A trained head and what it was trained for.

    Attributes:
        state: its state dict; rows of its last layer are classes.
        support: features (C, n, d) of n samples of each class, in the order of the rows.
    """

    state: Mapping[str, Tensor]
    support: Tensor


@dataclass(frozen=True)
class GeneratorConfig:
    """Parts and sizes.

    Attributes:
        vae: "mlp" for small heads, "conv" for networks.
        latent: numbers of a latent of "mlp".
        hidden: units of perceptrons.
        fdim: numbers that the vector becomes before the convolutions.
        latent_shape: channels and side of a latent of "conv".
        channels: of its first level.
        mult: channels of its levels, as multiples.
        condition: "means" and "ordered" keep the order of the classes; "set" minds none, and is aligned with latents.
        condition_width: numbers of the dataset's vector of "ordered"; of "set" they are those of the latent.
        set_width: of the set transformers.
        shots: samples of a class that a dataset's vector is made of in training.
        denoiser: "mlp", or "unet" for latents that are squares.
        unet_channels: of its first level.
        unet_mult: channels of its levels, as multiples.
        steps: T of the diffusion; betas are those of 1024 steps, larger by as much as there are fewer.
        layers: equal parts that a weight vector is cut into, each with a latent of its own, told by its number.
        scale: that weights are divided by.
    """

    vae: Literal["mlp", "conv"] = "mlp"
    latent: int = 24
    hidden: int = 512
    fdim: int = 4096
    latent_shape: tuple[int, int, int] = (4, 16, 16)
    channels: int = 128
    mult: tuple[int, ...] = (1, 1, 2)
    condition: Literal["means", "ordered", "set"] = "means"
    condition_width: int = 256
    set_width: int = 128
    shots: int = 5
    denoiser: Literal["mlp", "unet"] = "mlp"
    unet_channels: int = 256
    unet_mult: tuple[int, ...] = (1, 1, 1, 2)
    steps: int = 200
    layers: int = 1
    scale: float = 1.0


class WeightGenerator(nn.Module):
    """Weights of heads out of a few samples of each class.

    Args:
        config: its parts.
        shapes: names and shapes of the head's tensors.
        classes: number C.
        width: numbers d of a feature.
        zoo: heads that it keeps to compare with.
        seed: of first weights.

    Attributes:
        direction: (d,) along which class means lie in the order that heads have under "set".
    """

    def __init__(
        self,
        config: GeneratorConfig,
        shapes: Mapping[str, Sequence[int]],
        classes: int,
        width: int,
        zoo: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.config, self.classes, self.width = config, classes, width
        self.shapes = {name: list(shape) for name, shape in shapes.items()}
        template = {name: torch.zeros(*shape) for name, shape in shapes.items()}
        self.vectorizer = WeightVectorizer(template, scale=config.scale)
        size = -(-self.vectorizer.padded // config.layers)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.vae: MLPWeightVAE | WeightVAE = (
                MLPWeightVAE(size, config.latent, config.hidden)
                if config.vae == "mlp"
                else WeightVAE(size, 1, config.fdim, config.latent_shape, channels=config.channels, mult=config.mult)
            )
            latent = self.vae.latent
            self.dataset: ClassMeans | OrderedEncoder | DatasetEncoder
            if config.condition == "means":
                self.dataset = ClassMeans(width, classes)
            elif config.condition == "ordered":
                self.dataset = OrderedEncoder(width, config.condition_width, classes, config.shots)
            else:
                self.dataset = DatasetEncoder(width, config.layers * latent, config.set_width)
            told = self.dataset.width
            self.places = nn.Embedding(config.layers, told)
            nn.init.normal_(self.places.weight, std=float(config.layers > 1))
            denoiser = (
                MLPDenoiser(latent, told, config.hidden)
                if config.denoiser == "mlp"
                else UNetDenoiser(latent, told, config.unet_channels, config.unet_mult)
            )
            self.diffusion = WeightDiffusion(denoiser, config.steps, scaled_beta(config.steps))
        numbers = self.vectorizer.padded
        for name, value in {
            "vector_mean": torch.zeros(numbers),
            "vector_std": torch.ones(numbers),
            "feature_mean": torch.zeros(width),
            "feature_std": torch.ones(width),
            "direction": torch.zeros(width),
            "zoo_vectors": torch.zeros(zoo, numbers),
            "zoo_means": torch.zeros(zoo, classes * width),
        }.items():
            self.register_buffer(name, value)

    def take_in(self, zoo: Sequence[ZooEntry]) -> tuple[Tensor, Tensor]:
        """Fit all statistics to a zoo.

        Returns:
            Its standardised vectors (M, numbers), and supports (M, C, n, d), in the order that heads have.

        Raises:
            ValueError: heads or supports of other shapes, or with numbers that are not finite.
        """
        if len({tuple(entry.support.shape) for entry in zoo}) != 1 or len(zoo[0].support) != self.classes:
            raise ValueError(f"zoo: expected supports of one shape with {self.classes} classes, found others")
        check_support([entry.support for entry in zoo], self.width)
        features = torch.stack([entry.support for entry in zoo])
        self.feature_mean.copy_(features.mean(dim=(0, 1, 2)))
        self.feature_std.copy_(features.std(dim=(0, 1, 2)).clamp(min=1e-6))
        means = self.standardised(features).mean(dim=2)
        self.direction.copy_(torch.linalg.svd(means.flatten(0, 1), full_matrices=False).Vh[0])
        orders = [self.order(entry.support) for entry in zoo]
        states = [with_classes_in_order(entry.state, order) for entry, order in zip(zoo, orders, strict=True)]
        vectors = torch.stack([self.vectorizer.flatten(state) for state in states])
        supports = torch.stack([entry.support[order] for entry, order in zip(zoo, orders, strict=True)])
        self.vector_mean.copy_(vectors.mean(dim=0))
        self.vector_std.copy_(vectors.std(dim=0).clamp(min=1e-6))
        self.zoo_vectors.copy_(vectors)
        self.zoo_means.copy_(self.standardised(supports).mean(dim=2).flatten(1))
        return (vectors - self.vector_mean) / self.vector_std, supports

    def standardised(self, features: Tensor) -> Tensor:
        """Features (..., d) by the mean and deviation of the zoo's."""
        return (features - self.feature_mean) / self.feature_std

    def order(self, support: Tensor) -> Tensor:
        """Order (C,) that the classes of a support (C, n, d) are brought to: as they are, or along `direction`."""
        if self.config.condition != "set":
            return torch.arange(len(support))
        return (self.standardised(support.mean(dim=1)) @ self.direction).argsort()

    def condition(self, supports: Sequence[Tensor]) -> Tensor:
        """Conditions (B layers, D) of supports (C, n, d) in the order that heads have."""
        told = self.dataset([self.standardised(one) for one in supports])
        return (told[:, None] + self.places.weight).flatten(0, 1)

    def latents(self, vectors: Tensor) -> Tensor:
        """Posterior means (B layers, latent) of standardised vectors (B, numbers)."""
        return self.vae.encode(self.parts(vectors))[0]

    def parts(self, vectors: Tensor) -> Tensor:
        """Vectors (B, numbers) as what the autoencoder takes, (B layers, size)."""
        return self.vectorizer.chunks(vectors, self.config.layers).flatten(0, 1)

    def decode(self, latents: Tensor) -> Tensor:
        """Weight vectors (B, numbers) of latents (B layers, latent)."""
        chunks = self.vae.decode(latents).unflatten(0, (-1, self.config.layers))
        return self.vectorizer.join(chunks) * self.vector_std + self.vector_mean

    def states(self, vectors: Tensor, order: Tensor) -> list[dict[str, Tensor]]:
        """State dicts of weight vectors (B, numbers), with classes as before they were brought to an order."""
        return [with_classes_in_order(self.vectorizer.unflatten(vector), order.argsort()) for vector in vectors]

    def nearest(self, support: Tensor) -> dict[str, Tensor]:
        """The zoo's head whose class means lie nearest to those of a support (C, n, d)."""
        self.check(support)
        order = self.order(support)
        means = self.standardised(support[order]).mean(dim=1).flatten()
        return self.states(self.zoo_vectors[(self.zoo_means - means).square().sum(dim=1).argmin()][None], order)[0]

    def check(self, support: Tensor) -> None:
        """Refuse a support that is not (C, n, d) of this generator.

        Raises:
            ValueError: of another shape, or with numbers that are not finite.
        """
        check_support([support], self.width)
        if len(support) != self.classes:
            raise ValueError(f"support: expected {self.classes} classes, found {len(support)}")

    def save(self, directory: Path) -> None:
        """Write what `load` reads."""
        content = asdict(self.config) | {
            "shapes": self.shapes,
            "classes": self.classes,
            "width": self.width,
            "zoo": len(self.zoo_vectors),
        }
        save_encoder(self, SYSTEM, content, directory)


def load(directory: Path) -> WeightGenerator:
    """Read what `WeightGenerator.save` wrote; in evaluation mode.

    Raises:
        ValueError: damaged; names the file.
    """
    content: dict[str, Any] = dict(read_config(directory)["config"])
    try:
        shapes, classes, width, zoo = (content.pop(name) for name in ("shapes", "classes", "width", "zoo"))
        for name in ("latent_shape", "mult", "unet_mult"):
            content[name] = tuple(content[name])
        if math.prod((classes, width, zoo)) < 1:
            raise ValueError(f"sizes: expected more than 0, found {classes}, {width}, {zoo}")
        model = WeightGenerator(GeneratorConfig(**content), shapes, classes, width, zoo, seed=0)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{directory}: expected the configuration of a weight generator: {error}") from error
    load_weights(model, directory)
    return model.eval()
