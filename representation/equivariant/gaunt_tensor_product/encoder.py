"""`GauntEncoder`: a `GauntPointNet` as an encoder of clouds, and what trains and reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from representation.data.clouds import unit_sphere
from representation.data.frames import Frames
from representation.equivariant.cloud_encoder import CloudEncoder, CloudObjective, load_cloud_encoder, new_objective
from representation.equivariant.cloud_features import CloudFeatures, thinned_rows
from representation.equivariant.cloud_graphs import cloud_graph
from representation.equivariant.cloud_targets import Known
from representation.equivariant.gaunt_tensor_product.point_net import GauntPointNet


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


class GauntEncoder(CloudEncoder):
    """An encoder of clouds, exact under rotations. Places are taken from the middle of the cloud, in radii of it."""

    system = "gaunt_tensor_product"

    def __init__(self, config: Config, known: Known) -> None:
        super().__init__(config, config.outputs, config.outputs, known)
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


def new(config: Config, frames: Frames, seed: int) -> CloudObjective:
    """An untrained encoder with heads for what the frames know of their clouds.

    Raises:
        ValueError: the frames have no clouds, or nothing that could be told of them.
    """
    return new_objective(GauntEncoder, config, frames, seed, config.turn)


def load(directory: Path) -> GauntEncoder:
    """Read what `GauntEncoder.save` wrote.

    Raises:
        ValueError: damaged; names the file.
    """
    return load_cloud_encoder(directory, GauntEncoder, Config)
