"""`PointNet`: a plain encoder of clouds, which knows nothing of rotations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from representation.data.clouds import unit_sphere
from representation.equivariant.cloud_encoder import CloudEncoder
from representation.equivariant.cloud_features import CloudFeatures, thinned_rows
from representation.equivariant.cloud_targets import Known


@dataclass(frozen=True)
class PointNetConfig:
    """Sizes; those of the default have about as many weights as the default PONITA.

    Attributes:
        points: that a cloud is thinned out to.
        hidden: channels of a point.
        scalars: that come out.
        vectors: that come out.
    """

    points: int = 64
    hidden: int = 64
    scalars: int = 32
    vectors: int = 16


class PointNet(CloudEncoder):
    """A network at every point, the largest of each channel over the cloud, and a network of both."""

    system = "point_net"

    def __init__(self, config: PointNetConfig, known: Known) -> None:
        super().__init__(config, config.scalars, config.vectors, known)
        own = config.hidden
        self.local = nn.Sequential(nn.Linear(3, own), nn.ReLU(), nn.Linear(own, own), nn.ReLU())
        self.whole = nn.Sequential(nn.Linear(own, 2 * own), nn.ReLU())
        self.both = nn.Sequential(
            nn.Linear(3 * own, 2 * own), nn.ReLU(), nn.Linear(2 * own, config.scalars + 3 * config.vectors)
        )

    def features(self, points: Tensor) -> CloudFeatures:
        """What it takes for scalars and vectors at points of clouds (B, N, 3)."""
        rows = thinned_rows(points, self.config.points, 1)
        local = self.local(unit_sphere(points[:, rows])[0])
        whole = self.whole(local).amax(dim=1, keepdim=True).expand(-1, len(rows), -1)
        read = self.both(torch.cat([local, whole], dim=2))
        return CloudFeatures(rows, read[..., : self.width], read[..., self.width :].unflatten(2, (-1, 3)))
