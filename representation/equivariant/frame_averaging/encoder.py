"""`FrameAveragedEncoder`: a PointNet, averaged over frames, as an encoder of clouds, and what trains and reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from representation.data.clouds import unit_sphere
from representation.data.frames import Frames
from representation.equivariant.cloud_encoder import CloudEncoder, CloudObjective, load_cloud_encoder, new_objective
from representation.equivariant.cloud_features import CloudFeatures, thinned_rows
from representation.equivariant.cloud_targets import Known
from representation.equivariant.frame_averaging.point_frames import Group
from representation.equivariant.frame_averaging.point_net import HEAD, WIDTHS, FAPointNet


@dataclass(frozen=True)
class Config:
    """Small sizes. Published: 512 points, widths of 64, 128, 128, 512 and 2048, a head of 256, 256 and 128.

    Attributes:
        points: that a cloud is thinned out to.
        local: whether neighbours are seen in frames of their own; better at normals, slower.
        neighbours: of each point, itself among them, if so.
        group: "SO" keeps left and right apart, "O" does not.
        widths: of the layers of a point.
        head: widths of the layers that see point and cloud.
        scalars: that come out at each point; numbers of a cloud's vector.
        vectors: that come out at each point.
        turn: whether clouds are turned at random in training, which changes next to nothing.
    """

    points: int = 128
    local: bool = True
    neighbours: int = 20
    group: Group = "SO"
    widths: tuple[int, ...] = WIDTHS
    head: tuple[int, ...] = HEAD
    scalars: int = 32
    vectors: int = 16
    turn: bool = False


class FrameAveragedEncoder(CloudEncoder):
    """An encoder of clouds. Places are taken from the middle of the cloud, in radii of it."""

    system = "frame_averaging"

    def __init__(self, config: Config, known: Known) -> None:
        super().__init__(config, config.scalars, config.vectors, known)
        self.network = FAPointNet(
            config.scalars,
            config.vectors,
            config.local,
            config.neighbours,
            config.group,
            config.widths,
            config.head,
        )

    def features(self, points: Tensor) -> CloudFeatures:
        """Scalars and vectors at points of clouds (B, N, 3), of as many points as there are neighbours or more."""
        fewest = self.config.neighbours if self.config.local else 2
        rows = thinned_rows(points, self.config.points, fewest)
        return CloudFeatures(rows, *self.network(unit_sphere(points[:, rows])[0]))


def new(config: Config, frames: Frames, seed: int) -> CloudObjective:
    """An untrained encoder with heads for what is known of the frames' clouds.

    Raises:
        ValueError: the frames have no clouds, or nothing that could be told of them.
    """
    return new_objective(FrameAveragedEncoder, config, frames, seed, config.turn)


def load(directory: Path) -> FrameAveragedEncoder:
    """Read what `FrameAveragedEncoder.save` wrote; in evaluation mode.

    Raises:
        ValueError: damaged; names the file.
    """
    return load_cloud_encoder(directory, FrameAveragedEncoder, Config)
