"""`GauntEncoder`: a `GauntPointNet` as an encoder of clouds, and what trains and reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.data.clouds import unit_sphere
from representation.data.frames import Frames
from representation.equivariant.cloud_features import CloudFeatures, thinned_rows
from representation.equivariant.cloud_graphs import cloud_graph
from representation.equivariant.cloud_objective import CloudObjective
from representation.equivariant.gaunt_tensor_product.point_net import GauntPointNet
from representation.interface import Modality


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        points: that a cloud is thinned out to.
        neighbours: nearest points that each point is told by.
        anchors: points spread over the cloud that all its points are told by.
        l_max: largest degree, at least 1.
        channels: of each degree.
        layers: of messages.
        outputs: channels that come out: numbers of a cloud's vector, and vectors at each point.
        turn: whether clouds are turned at random in training, which what is told of them does not depend on.
    """

    points: int = 64
    neighbours: int = 6
    anchors: int = 4
    l_max: int = 2
    channels: int = 8
    layers: int = 2
    outputs: int = 32
    turn: bool = False

    def __post_init__(self) -> None:
        if self.l_max < 1:
            raise ValueError(f"l_max: expected at least 1, found {self.l_max}")


class GauntEncoder(nn.Module):
    """A `CloudEncoder`, exact under rotations. Places are taken from the middle of the cloud, in radii of it."""

    modality: Modality = "points"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.width, self.vectors = config, config.outputs, config.outputs
        self.network = GauntPointNet(config.l_max, config.channels, config.layers, (0, 1), config.outputs)

    def features(self, points: Tensor) -> CloudFeatures:
        """Scalars and vectors at points of clouds (B, N, 3) of more points than neighbours."""
        rows = thinned_rows(points, self.config.points, self.config.neighbours + 1)
        places = unit_sphere(points[:, rows])[0]
        batch, count = places.shape[:2]
        edges = cloud_graph(places, self.config.neighbours, min(self.config.anchors, count))
        found = self.network.at_points(places.flatten(0, 1), edges)
        scalars, vectors = (found[degree].unflatten(0, (batch, count)) for degree in (0, 1))
        return CloudFeatures(rows, scalars[..., 0], vectors)

    def encode(self, inputs: Tensor) -> Tensor:
        """Vectors (B, D) of clouds (B, N, 3), which stay the same when a cloud is moved."""
        return self.features(inputs).scalars.mean(dim=1)

    def save(self, directory: Path) -> None:
        """Write the encoder."""
        save_encoder(self, "gaunt_tensor_product", self.config, directory)


def new(config: Config, frames: Frames, seed: int) -> CloudObjective:
    """An untrained encoder with heads for what the frames know of their clouds.

    Raises:
        ValueError: see `CloudObjective`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CloudObjective(GauntEncoder(config), frames, config.turn)


def load(directory: Path) -> GauntEncoder:
    """Read what `GauntEncoder.save` wrote.

    Raises:
        ValueError: damaged; names the file.
    """
    content = read_config(directory)["config"]
    try:
        encoder = GauntEncoder(Config(**content))
    except TypeError as error:
        raise ValueError(f"{directory}: expected the configuration of a GauntEncoder: {error}") from error
    load_weights(encoder, directory)
    return encoder.eval()
