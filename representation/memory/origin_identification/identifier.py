"""`OriginIdentifier`: a linear map W of any autoencoder's vectors, by which a picture lies next to its origin."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.memory.origin_identification.averaging import ExponentialMovingAverage
from representation.memory.origin_identification.cosface import CosFaceHead

EPOCHS, WARM_EPOCHS, FULL_EPOCHS = 25, 5, 10
RELEASED_NAME = "module.base.0.fc1.weight"
CHUNK = 256  # pictures at a time


@dataclass(frozen=True)
class FitConfig:
    """How the map is fitted; the paper has batches of 512 pictures and 50,000 steps.

    Attributes:
        steps: optimizer steps; the learning rate follows `lr_factor` over 25 epochs, however few they are.
        identities: origins of a batch.
        instances: pictures of each of them: itself, and so many less one of its translations.
        lr: of Adam.
        s: scale of `CosFaceHead`.
        m: its margin.
        decay: of the average of the weights, which is what is kept.
        warm_up: whether that decay rises to its value, as short runs need it.
        seed: of weights and batches.
    """

    steps: int = 2000
    identities: int = 128
    instances: int = 4
    lr: float = 3.5e-4
    s: float = 64.0
    m: float = 0.35
    decay: float = 0.9999
    warm_up: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.instances < 2:
            raise ValueError(f"instances: expected an origin and at least one translation, found {self.instances}")


def lr_factor(epoch: float) -> float:
    """Share of the learning rate at an epoch of 25: a rise from 0.01 over 5, all of it until 10, then half a cosine."""
    if epoch < WARM_EPOCHS:
        return 0.99 * epoch / WARM_EPOCHS + 0.01
    if epoch < FULL_EPOCHS:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (epoch - FULL_EPOCHS) / (EPOCHS - FULL_EPOCHS)))


class OriginIdentifier:
    """Pictures to unit vectors that are alike for a picture and what was made of it.

    Args:
        encode: pictures (B, 3, H, W) to vectors (B, D); is not trained. Gallery and query go through the same one.
        dim: numbers of a vector.
    """

    def __init__(self, encode: Callable[[Tensor], Tensor], dim: int = 512) -> None:
        self._encode, self.dim = encode, dim
        self.projection: nn.Linear | None = None

    def fit(
        self, origins: Tensor, translations: Sequence[tuple[Tensor, int]], config: FitConfig | None = None
    ) -> OriginIdentifier:
        """Learn the map; every origin is a class.

        Args:
            origins: (N, 3, H, W).
            translations: pictures (3, H, W), each with the number of its origin; of each origin at least one.
            config: how.

        Raises:
            ValueError: an origin without translation, or a number that is none of an origin.
        """
        config = config or FitConfig()
        generator = torch.Generator().manual_seed(config.seed)
        before, after = self._vectors(origins), self._vectors([image for image, _ in translations])
        self.projection = new_projection(before.shape[1], self.dim, generator)
        train_map(self.projection, self.dim, before, after, [number for _, number in translations], config, generator)
        self.projection.requires_grad_(False)
        return self

    @torch.no_grad()
    def embed(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        """Unit vectors (B, dim) of pictures (B, 3, H, W).

        Raises:
            ValueError: there is no map yet, or one of vectors of another length.
        """
        if self.projection is None:
            raise ValueError("projection: expected one that was fitted or loaded, found none")
        vectors = self._vectors(images)
        if vectors.shape[1] != self.projection.in_features:
            raise ValueError(
                f"vectors: expected {self.projection.in_features} numbers, as the projection takes them, found "
                f"{vectors.shape[1]}"
            )
        return F.normalize(self.projection(vectors), dim=1)

    def load_projection(self, path: Path) -> None:
        """Read a map (dim, D): one tensor in safetensors, or a published file of one or of a whole training state.

        Raises:
            ValueError: no such file, or another shape.
        """
        weight = read_projection(path)
        if weight.ndim != 2 or len(weight) != self.dim:
            raise ValueError(f"{path}: expected a projection ({self.dim}, D), found {tuple(weight.shape)}")
        self.projection = nn.Linear(weight.shape[1], self.dim, bias=False)
        self.projection.requires_grad_(False).weight.copy_(weight)

    @torch.no_grad()
    def _vectors(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        pictures = images if isinstance(images, Tensor) else torch.stack(list(images))
        return torch.cat([self._encode(part).float() for part in pictures.split(CHUNK)])


def train_map(
    network: nn.Module,
    dim: int,
    origins: Tensor,
    translations: Tensor,
    origin_of: Sequence[int],
    config: FitConfig,
    generator: torch.Generator,
) -> None:
    """Train a map of vectors by CosFace, every origin a class; it ends with its averaged weights.

    Args:
        network: vectors (B, D) to (B, dim).
        dim: numbers that it gives.
        origins: (N, D).
        translations: (M, D).
        origin_of: (M,) row of each one's origin.
        config: how.
        generator: draws class weights and batches.
    """
    table = _table(len(origins), origin_of, config.instances - 1)
    head = CosFaceHead(dim, len(origins), config.s, config.m, generator)
    optimizer = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=config.lr)
    average = ExponentialMovingAverage(network.parameters(), config.decay, config.warm_up)
    count = min(config.identities, len(origins))
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * lr_factor(EPOCHS * step / config.steps)
        chosen = torch.randperm(len(origins), generator=generator)[:count]
        order = torch.rand(count, table.shape[1], generator=generator).argsort(dim=1)
        places = table[chosen].gather(1, order)[:, : config.instances - 1]
        vectors = torch.cat([origins[chosen, None], translations[places]], dim=1).flatten(0, 1)
        optimizer.zero_grad()
        head(network(vectors), chosen.repeat_interleave(config.instances)).backward()
        optimizer.step()
        average.update()
    average.copy_to_parameters()


def new_projection(numbers: int, dim: int, generator: torch.Generator) -> nn.Linear:
    """A map without bias, its weights from a generator."""
    projection = nn.Linear(numbers, dim, bias=False)
    nn.init.normal_(projection.weight, std=numbers**-0.5, generator=generator)
    return projection


def read_projection(path: Path) -> Tensor:
    """The one tensor of a file, or that of a published training state.

    Raises:
        ValueError: there is none.
    """
    if not path.is_file():
        raise ValueError(f"{path}: expected a projection, found no file")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, SafetensorError, EOFError, UnpicklingError) as error:
        raise ValueError(f"{path}: expected a projection, found a file that cannot be read: {error}") from error
    if isinstance(content, Tensor):
        return content.float()
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    if RELEASED_NAME in state:
        return state[RELEASED_NAME].float()
    tensors = [value for value in state.values() if isinstance(value, Tensor)]
    if len(tensors) != 1:
        raise ValueError(f"{path}: expected one tensor or {RELEASED_NAME}, found {sorted(map(str, state))[:20]}")
    return tensors[0].float()


def _table(count: int, numbers: Sequence[int], width: int) -> Tensor:
    """(count, at least `width`) which translations each origin has, some several times where they are few."""
    found: list[list[int]] = [[] for _ in range(count)]
    for place, number in enumerate(numbers):
        if not 0 <= number < count:
            raise ValueError(f"translations: expected numbers of {count} origins, found {number}")
        found[number].append(place)
    without = [number for number, places in enumerate(found) if not places]
    if without:
        raise ValueError(f"translations: expected one of each origin, found none of {without[:10]}")
    width = max(width, *map(len, found))
    return torch.tensor([(places * -(-width // len(places)))[:width] for places in found])
