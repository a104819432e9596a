"""`PonitaEncoder`: a PONITA as an encoder of clouds, and what trains and reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from representation.data.clouds import clouds, unit_sphere
from representation.data.frames import Frames
from representation.equivariant.cloud_encoder import CloudEncoder, CloudObjective, load_cloud_encoder, new_objective
from representation.equivariant.cloud_features import CloudFeatures, thinned_rows
from representation.equivariant.cloud_graphs import cloud_graph
from representation.equivariant.cloud_targets import Known
from representation.equivariant.ponita.model import Ponita

CALIBRATION_CLOUDS = 16


@dataclass(frozen=True)
class Config:
    """Sizes that train on two cores in minutes. Published ones: 128 to 256 channels, 5 to 9 layers, all edges.

    Attributes:
        points: that a cloud is thinned out to.
        neighbours: nearest points that each point is told by.
        anchors: points spread over the cloud that all its points are told by.
        hidden: channels.
        layers: blocks.
        num_ori: orientations at each point; -1 puts them on the edges, exactly but with more memory.
        scalars: that come out at each point; numbers of a cloud's vector.
        vectors: that come out at each point.
        turn: whether clouds are turned at random in training, as published.
    """

    points: int = 64
    neighbours: int = 6
    anchors: int = 4
    hidden: int = 24
    layers: int = 3
    num_ori: int = 12
    scalars: int = 32
    vectors: int = 16
    turn: bool = True


class PonitaEncoder(CloudEncoder):
    """An encoder of clouds. Places are taken from the middle of the cloud, in radii of it."""

    system = "ponita"

    def __init__(self, config: Config, known: Known) -> None:
        super().__init__(config, config.scalars, config.vectors, known)
        self.network = Ponita(
            0, 1, config.hidden, config.scalars, config.vectors, config.layers, num_ori=config.num_ori
        )

    def features(self, points: Tensor) -> CloudFeatures:
        """Scalars and vectors at points of clouds (B, N, 3) of more points than neighbours."""
        rows = thinned_rows(points, self.config.points, self.config.neighbours + 1)
        places = unit_sphere(points[:, rows])[0]
        batch, count = places.shape[:2]
        edges = cloud_graph(places, self.config.neighbours, min(self.config.anchors, count))
        number = torch.arange(batch, device=points.device).repeat_interleave(count)
        flat = places.flatten(0, 1)
        scalars, vectors = self.network(flat, None, flat[:, None], edges, number)
        return CloudFeatures(rows, scalars.unflatten(0, (batch, count)), vectors.unflatten(0, (batch, count)))


def new(config: Config, frames: Frames, seed: int) -> CloudObjective:
    """An untrained encoder, its kernels scaled to the frames' clouds, with heads for what is known of them.

    Raises:
        ValueError: the frames have no clouds, or nothing that could be told of them.
    """
    objective = new_objective(PonitaEncoder, config, frames, seed, config.turn)
    with torch.no_grad():
        objective.encoder.encode(clouds(frames, np.arange(min(CALIBRATION_CLOUDS, len(frames)))))
    return objective


def load(directory: Path) -> PonitaEncoder:
    """Read what `PonitaEncoder.save` wrote.

    Raises:
        ValueError: damaged; names the file.
    """
    return load_cloud_encoder(directory, PonitaEncoder, Config)
