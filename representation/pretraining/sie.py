"""SIE: a representation in two parts, one the same however an object is turned, one that turns with it.

Two views of an object whose relative rotation is known. The first half of a vector shall be equal for both. The second
half, through a projector, is carried from the first view to the second by a linear map that is itself made, linearly,
of the rotation's quaternion: a map that ignored the rotation would be useless, so pose cannot be dropped.

Source: Self-supervised Learning of Split Invariant Equivariant Representations, Garrido et al., ICML 2023
(arXiv 2302.10283). Takes pictures (B, 3, H, W) in [0, 1] of several views of each object (`episode`), with the object's
`rotation` (N, 4) in the world's frame, unit quaternions x, y, z, w, as `sim.posed_objects` draws them and as the
folders of 3DIEBench have them; gives vectors (B, width).

What differs from the paper: a small network; quaternions have w >= 0, since q and -q are one rotation and would ask
for opposite maps (`one_sign=False` leaves them as they are); colours of floor and light are not predicted; the map is
made by one linear layer without bias, as in the paper's own model, and the paper's other ways of making one (hidden
layers, biases, a network that reads rotation and code together) are left out; the step is that of the common training
loop (AdamW).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.data.frames import Frames
from representation.interface import Loss
from representation.pretraining.small_encoder import SmallEncoder, draw_weights, load_small_encoder, resized

ROTATION = "rotation"


@dataclass(frozen=True)
class Config:
    """A run on two cores; the paper has a ResNet-18 of width 512 and projectors of 1024.

    Attributes:
        resolution: side of the pictures, pixels.
        width: numbers of a vector, the invariant ones first.
        equivariant: how many of them, the last, turn with the object.
        dim: numbers E of each projected part, and width of the projectors' layers.
        one_sign: whether quaternions are brought to w >= 0.
        invariance: weight of the difference between the invariant parts.
        equivariance: weight of the difference between predicted and true equivariant parts, times `invariance`.
        variance: weight of the standard deviations that are below 1.
        covariance: weight of the covariances between numbers.
    """

    resolution: int = 48
    width: int = 128
    equivariant: int = 64
    dim: int = 128
    one_sign: bool = True
    invariance: float = 10.0
    equivariance: float = 0.45
    variance: float = 10.0
    covariance: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.equivariant < self.width:
            raise ValueError(f"equivariant: expected a part of the {self.width} numbers, found {self.equivariant}")


def relative_rotation(first: Tensor, second: Tensor, one_sign: bool = True) -> Tensor:
    """Rotations (B, 4), x, y, z, w, that follow the first ones to give the second: R1 R = R2.

    Args:
        first: (B, 4) unit quaternions.
        second: (B, 4) unit quaternions.
        one_sign: whether w is made positive.
    """
    v1, w1, v2, w2 = -first[:, :3], first[:, 3:], second[:, :3], second[:, 3:]
    vector = w1 * v2 + w2 * v1 + torch.linalg.cross(v1, v2)
    scalar = w1 * w2 - (v1 * v2).sum(dim=1, keepdim=True)
    found = torch.cat([vector, scalar], dim=1)
    return torch.where(scalar < 0, -found, found) if one_sign else found


class HyperPredictor(nn.Module):
    """Linear maps that are linear in a rotation; no biases, so that nothing passes by the rotation.

    Args:
        dim: numbers E of a code.
        latent_dim: numbers of the rotation.
        generator: draws the first weights, by which a unit quaternion keeps the length of a code on average.
    """

    def __init__(self, dim: int, latent_dim: int = 4, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.hypernetwork = nn.Linear(latent_dim, dim * dim, bias=False)
        nn.init.normal_(self.hypernetwork.weight, std=dim**-0.5, generator=generator)

    def maps(self, rotation: Tensor) -> Tensor:
        """(B, E, E), rows are outputs, of rotations (B, 4)."""
        maps = self.hypernetwork(rotation)
        side = round(maps.shape[1] ** 0.5)
        return maps.view(-1, side, side)

    def forward(self, codes: Tensor, rotation: Tensor) -> Tensor:
        """Codes (B, E) after rotations (B, 4)."""
        return (self.maps(rotation) @ codes[:, :, None]).squeeze(2)


class Projector(nn.Sequential):
    """Three layers of one width; batch normalisation after the first two, no bias in the last.

    Args:
        width: numbers that come in.
        dim: of every layer.
        generator: draws the first weights.
    """

    def __init__(self, width: int, dim: int, generator: torch.Generator | None = None) -> None:
        layers: list[nn.Module] = []
        for incoming in (width, dim):
            layers += [nn.Linear(incoming, dim), nn.BatchNorm1d(dim), nn.ReLU()]
        super().__init__(*layers, nn.Linear(dim, dim, bias=False))
        draw_weights(self, generator)


class SieEncoder(SmallEncoder):
    """The small encoder with what carries a pose code from one rotation to another."""

    def __init__(self, system: str, config: Config, generator: torch.Generator | None = None) -> None:
        super().__init__(system, config, generator)
        self.pose_projector = Projector(config.equivariant, config.dim, generator)
        self.predictor = HyperPredictor(config.dim, generator=generator)

    def split(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """The invariant and the equivariant part of vectors (B, width)."""
        own = self.width - self.config.equivariant
        return vectors[:, :own], vectors[:, own:]

    def pose_codes(self, images: Tensor) -> Tensor:
        """Codes (B, E) of the poses in pictures (B, 3, H, W)."""
        return self.pose_projector(self.split(self.encode(images))[1])

    def turned(self, codes: Tensor, rotation: Tensor) -> Tensor:
        """Pose codes (B, E) as they are expected after rotations (B, 4), see `relative_rotation`."""
        return self.predictor(codes, rotation)


def variance_loss(u: Tensor) -> Tensor:
    """Half the mean of what standard deviations over (B, D) lack to 1."""
    return 0.5 * F.relu(1 - (u.var(dim=0) + 1e-4).sqrt()).mean()


def covariance_loss(u: Tensor) -> Tensor:
    """Sum of squared covariances between different numbers of (B, D), by D."""
    centred = u - u.mean(dim=0)
    covariance = centred.T @ centred / (len(u) - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / u.shape[1]


def sie_loss(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], predicted: Tensor, config: Config) -> Loss:
    """The loss of two views.

    Args:
        first: invariant and equivariant projections (B, E) of the first view.
        second: those of the second.
        predicted: (B, E) equivariant projections of the second, as expected from the first.
        config: weights.
    """
    x, y = torch.cat(first, dim=1), torch.cat(second, dim=1)
    parts = {
        "invariance": F.mse_loss(first[0], second[0]),
        "equivariance": F.mse_loss(predicted, second[1]),
        "variance": variance_loss(x) + variance_loss(y) + variance_loss(predicted),
        "covariance": covariance_loss(x) + covariance_loss(y),
    }
    alike = config.invariance * (parts["invariance"] + config.equivariance * parts["equivariance"])
    return Loss(alike + config.variance * parts["variance"] + config.covariance * parts["covariance"], parts)


class SieObjective(nn.Module):
    """Two views of each object agree in one part, and are carried into each other in the other.

    Args:
        config: all of it.
        generator: draws the first weights.
    """

    needs = (ROTATION,)

    def __init__(self, config: Config, generator: torch.Generator) -> None:
        super().__init__()
        self._config = config
        self.encoder = SieEncoder("sie", config, generator)
        self.identity_projector = Projector(config.width - config.equivariant, config.dim, generator)

    def batch(self, frames: Frames, rows: NDArray, generator: torch.Generator) -> dict[str, Tensor]:
        """Views (B, 3, R, R) of some frames, another view of each object, and the rotations between them.

        Raises:
            ValueError: an object was seen once.
        """
        other = other_views(frames, rows, generator)
        side, turns = self._config.resolution, torch.from_numpy(frames.columns[ROTATION]).float()
        return {
            "first": resized(frames.pixels(rows), side),
            "second": resized(frames.pixels(other), side),
            "rotation": relative_rotation(turns[rows], turns[other], self._config.one_sign),
        }

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """The loss of a batch."""
        first, second = self._projected(batch["first"]), self._projected(batch["second"])
        predicted = self.encoder.turned(first[1], batch["rotation"]).float()
        with torch.autocast(predicted.device.type, enabled=False):
            return sie_loss(first, second, predicted, self._config)

    def _projected(self, images: Tensor) -> tuple[Tensor, Tensor]:
        invariant, equivariant = self.encoder.split(self.encoder(images))
        return self.identity_projector(invariant).float(), self.encoder.pose_projector(equivariant).float()


def other_views(frames: Frames, rows: NDArray[np.int64], generator: torch.Generator) -> NDArray[np.int64]:
    """For each row another one of its object.

    Raises:
        ValueError: there is none; names the object.
    """
    found = []
    for row, draw in zip(rows, torch.rand(len(rows), generator=generator).tolist(), strict=True):
        own = np.flatnonzero(frames.episode == frames.episode[row])
        own = own[own != row]
        if len(own) == 0:
            raise ValueError(f"object {frames.episode[row]}: expected several views, found one")
        found.append(own[int(draw * len(own))])
    return np.array(found)


@torch.no_grad()
def prediction_ranks(encoder: SieEncoder, frames: Frames) -> NDArray[np.int64]:
    """Rank, from 1, of the right view among an object's, by cosine to what its first view predicts.

    Args:
        encoder: in evaluation mode.
        frames: several views of each object, with rotations.

    Returns:
        (N,) in the order of objects.
    """
    turns, ranks = torch.from_numpy(frames.columns[ROTATION]).float(), []
    for number in np.unique(frames.episode):
        rows = np.flatnonzero(frames.episode == number)
        codes = encoder.pose_codes(frames.pixels(rows))
        steps = relative_rotation(turns[rows[:1]].expand(len(rows), 4), turns[rows], encoder.config.one_sign)
        predicted = encoder.turned(codes[:1].expand(len(rows), -1), steps)
        similarity = F.normalize(predicted, dim=1) @ F.normalize(codes, dim=1).T
        ranks.append((similarity >= similarity.diagonal()[:, None]).sum(dim=1).numpy())
    return np.concatenate(ranks)


def rotation_score(predicted: NDArray, truth: NDArray) -> float:
    """R squared of quaternions (N, 4) over all entries, about their one common mean, as in the paper."""
    return float(1 - ((truth - predicted) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())


def new(config: Config, frames: Frames, seed: int) -> SieObjective:
    """An untrained encoder with its projectors.

    Raises:
        ValueError: the frames have no rotations.
    """
    frames.need(SieObjective.needs)
    return SieObjective(config, torch.Generator().manual_seed(seed))


def load(directory: Path) -> SmallEncoder:
    """Read an encoder that was saved.

    Raises:
        ValueError: damaged; names the file.
    """
    return load_small_encoder("sie", Config, directory, SieEncoder)
