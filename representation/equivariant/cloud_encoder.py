"""`CloudEncoder`: what encoders of clouds with heads have in common; `CloudObjective`: how they are trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.data.frames import POINTS, Frames
from representation.equivariant.cloud_features import CloudFeatures
from representation.equivariant.cloud_heads import CloudHeads, losses
from representation.equivariant.cloud_targets import Known, known_of, random_turns, targets_of, turned
from representation.interface import Loss, Modality

EncoderT = TypeVar("EncoderT", bound="CloudEncoder")


class CloudEncoder(nn.Module):
    """An `Encoder` of clouds that also tells of points, and with heads what it was trained to tell.

    Args:
        config: sizes, a dataclass.
        width: numbers S of scalars at a point, and D of the vector of a cloud.
        vectors: number V of vectors at a point.
        known: what is told.
    """

    modality: Modality = "points"
    system: str

    def __init__(self, config: Any, width: int, vectors: int, known: Known) -> None:
        super().__init__()
        self.config, self.width, self.vectors, self.known = config, width, vectors, known
        self.heads = CloudHeads(width, vectors, known)

    def features(self, points: Tensor) -> CloudFeatures:
        """Features of clouds (B, N, 3)."""
        raise NotImplementedError

    def encode(self, inputs: Tensor) -> Tensor:
        """Vectors (B, D) of clouds (B, N, 3): the mean of the scalars."""
        return self.features(inputs).scalars.mean(dim=1)

    def tell(self, points: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """What is told of clouds (B, N, 3), see `CloudHeads`, and the numbers of the points that normals are of."""
        features = self.features(points)
        return self.heads(points, features), features.rows

    def save(self, directory: Path) -> None:
        """Write the encoder and its heads."""
        save_encoder(self, self.system, asdict(self.config) | asdict(self.known), directory)


def load_cloud_encoder(directory: Path, make: Callable[[Any, Known], EncoderT], config_class: type) -> EncoderT:
    """Read what `CloudEncoder.save` wrote; in evaluation mode.

    Args:
        directory: where it is.
        make: makes an encoder of a configuration and what is told.
        config_class: of the configuration.

    Raises:
        ValueError: damaged; names the file.
    """
    system, content = (read_config(directory)[name] for name in ("system", "config"))
    names = {field.name for field in fields(Known)}
    try:
        known = Known(int(content["classes"]), tuple(map(str, content["told"])))
        encoder = make(config_class(**{k: v for k, v in content.items() if k not in names}), known)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{directory}: expected the configuration of an encoder of {system}: {error}") from error
    load_weights(encoder, directory)
    return encoder.eval()


class CloudObjective(nn.Module):
    """An `Objective`: tells labels, normals, approach and pose, as far as the frames have them.

    Args:
        encoder: with heads for that.
        turn: whether clouds are turned at random in training.
    """

    needs = (POINTS,)

    def __init__(self, encoder: CloudEncoder, turn: bool) -> None:
        super().__init__()
        self.encoder, self._turn = encoder, turn

    def batch(self, frames: Frames, rows: NDArray[np.int64], generator: torch.Generator) -> dict[str, Tensor]:
        """Clouds and what is known of them, turned at random if that is wanted."""
        targets = targets_of(frames, rows)
        return turned(targets, random_turns(len(rows), generator)) if self._turn else targets

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """The sum of the losses of all targets."""
        told, rows = self.encoder.tell(batch[POINTS])
        parts = losses(told, batch, rows)
        return Loss(torch.stack(list(parts.values())).sum(), {name: value.detach() for name, value in parts.items()})


def new_objective(
    make: Callable[[Any, Known], CloudEncoder], config: Any, frames: Frames, seed: int, turn: bool
) -> CloudObjective:
    """An untrained encoder with heads for what the frames know.

    Args:
        make: makes an encoder of a configuration and what is told.
        config: of it.
        frames: which it is to learn from.
        seed: of the weights.
        turn: see `CloudObjective`.

    Raises:
        ValueError: the frames have no clouds, or nothing that could be told of them.
    """
    known = known_of(frames)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CloudObjective(make(config, known), turn)
