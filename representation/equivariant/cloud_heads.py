"""Heads that tell targets from features of clouds, and how far they are off."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.data.clouds import unit_sphere
from representation.data.frames import LABEL, POINTS
from representation.equivariant.cloud_features import CloudFeatures
from representation.equivariant.cloud_targets import APPROACH, CENTER, NORMALS, POSE, ROTATION, Known

POSE_VECTORS = 3  # two of the rotation, and the way to the object's origin


class CloudHeads(nn.Module):
    """Tells targets from features; what it makes of vectors turns with them.

    Vectors of a cloud are means over its points, mixed by weights that its scalars choose.

    Args:
        width: scalars S of a point.
        vectors: V of a point.
        known: what is told.
    """

    def __init__(self, width: int, vectors: int, known: Known) -> None:
        super().__init__()
        self.label = nn.Linear(width, known.classes) if known.classes else None
        self.normals = nn.Linear(vectors, 1, bias=False) if NORMALS in known.told else None
        sizes = {APPROACH: 1, POSE: POSE_VECTORS}
        self.mixers = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, size * vectors))
                for name, size in sizes.items()
                if name in known.told
            }
        )

    def forward(self, points: Tensor, features: CloudFeatures) -> dict[str, Tensor]:
        """Logits `label` (B, K), unit `normals` (B, P, 3) and `approach` (B, 3), `rotation` (B, 3, 3), `center` (B, 3).

        Args:
            points: clouds (B, N, 3).
            features: of them.
        """
        pooled, mean = features.scalars.mean(dim=1), features.vectors.mean(dim=1)
        found = {} if self.label is None else {LABEL: self.label(pooled)}
        if self.normals is not None:
            found[NORMALS] = F.normalize(self.normals(features.vectors.transpose(2, 3))[..., 0], dim=2)
        mixed = {
            name: torch.einsum("bsv,bvn->bsn", mixer(pooled).unflatten(1, (-1, mean.shape[1])), mean)
            for name, mixer in self.mixers.items()
        }
        if APPROACH in mixed:
            found[APPROACH] = F.normalize(mixed[APPROACH][:, 0], dim=1)
        if POSE in mixed:
            found[ROTATION] = rotation_of(mixed[POSE][:, :2])
            _, center, radius = unit_sphere(points)
            found[CENTER] = (center + radius * mixed[POSE][:, 2:])[:, 0]
        return found


def rotation_of(pair: Tensor) -> Tensor:
    """Rotations (B, 3, 3) whose first two columns are pairs of vectors (B, 2, 3), made orthonormal one by one."""
    first = F.normalize(pair[:, 0], dim=1)
    second = F.normalize(pair[:, 1] - (pair[:, 1] * first).sum(dim=1, keepdim=True) * first, dim=1)
    return torch.stack([first, second, torch.linalg.cross(first, second, dim=1)], dim=2)


def losses(told: Mapping[str, Tensor], targets: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    """The loss of each target that was told: entropies, one minus cosines, squares.

    Args:
        told: by `CloudHeads`.
        targets: from `targets_of`.
        rows: points that normals are told of.
    """
    found = {}
    for name, value in told.items():
        if name == LABEL:
            found[name] = F.cross_entropy(value, targets[name])
        elif name == NORMALS:
            found[name] = 1 - (value * targets[name][:, rows]).sum(dim=2).mean()
        elif name == APPROACH:
            found[name] = 1 - (value * targets[name]).sum(dim=1).mean()
        elif name == ROTATION:
            found[name] = (value - targets[name]).square().sum(dim=(1, 2)).mean() / 4
        else:
            radius = unit_sphere(targets[POINTS])[2][:, 0]
            found[name] = ((value - targets[name]) / radius).square().sum(dim=1).mean()
    return found


@torch.no_grad()
def errors(told: Mapping[str, Tensor], targets: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    """How far each cloud (B,) is off: labels 0 or 1, centres metres, all else degrees."""
    found = {}
    for name, value in told.items():
        if name == LABEL:
            found[name] = (value.argmax(dim=1) != targets[name]).float()
        elif name == NORMALS:
            found[name] = _degrees((value * targets[name][:, rows]).sum(dim=2)).mean(dim=1)
        elif name == APPROACH:
            found[name] = _degrees((value * targets[name]).sum(dim=1))
        elif name == ROTATION:
            found[name] = _degrees(((value * targets[name]).sum(dim=(1, 2)) - 1) / 2)
        else:
            found[name] = (value - targets[name]).norm(dim=1)
    return found


def _degrees(cosine: Tensor) -> Tensor:
    return cosine.clamp(-1, 1).arccos() * (180 / math.pi)
