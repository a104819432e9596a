"""Where an object is, fused by a learned monoid of any number of sights, some of which take another thing for it.

A sight is 4 numbers: where the object seems to be, m in the base frame, and how sure it is there, 0 where nothing is
seen. States of sights fuse in any order and in parts, so that every camera keeps the state of its newest sights, and
states of several cameras fuse to one place.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.image_tower import draw_weights
from representation.structure.commutative_monoids.monoid import CommutativeMonoid, Operator

SYSTEM, SIGHT = "commutative_monoids", 4
CENTRE, REACH = (0.5, 0.0, 0.1), (0.3, 0.4, 0.12)
"""Middle and half sides of the space in which objects are, m, in the base frame."""


@dataclass(frozen=True)
class EvidenceConfig:
    """A network of some thousand weights.

    Attributes:
        dim: numbers of a state.
        op: of the monoid.
    """

    dim: int = 32
    op: Operator = "gru"


class ObjectEvidence(nn.Module):
    """Sights to elements, states to places.

    Args:
        config: its sizes.
        generator: draws the first weights.
    """

    def __init__(self, config: EvidenceConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config, dim = config, config.dim
        self.encoder = draw_weights(nn.Sequential(nn.Linear(SIGHT, 64), nn.ReLU(), nn.Linear(64, dim)), generator)
        self.decoder = draw_weights(nn.Sequential(nn.Linear(dim, 64), nn.ReLU(), nn.Linear(64, 4)), generator)
        self.monoid = CommutativeMonoid(dim, config.op, generator=generator)

    def elements(self, sights: Tensor) -> Tensor:
        """Elements (..., d) of sights (..., 4)."""
        place, sure = sights.split((3, 1), dim=-1)
        return self.encoder(torch.cat([(place - sights.new_tensor(CENTRE)) / sights.new_tensor(REACH), sure], dim=-1))

    def told(self, states: Tensor) -> Tensor:
        """Place, m in the base frame, and expected distance from it, m, (..., 4), of states (..., d)."""
        place, spread = self.decoder(states).split((3, 1), dim=-1)
        place = states.new_tensor(CENTRE) + states.new_tensor(REACH) * place
        return torch.cat([place, F.softplus(spread - 2) + 1e-3], dim=-1)

    def save(self, directory: Path) -> None:
        """Write what `load_object_evidence` reads."""
        save_encoder(self, SYSTEM, self.config, directory)


def load_object_evidence(directory: Path) -> ObjectEvidence:
    """Read what was saved; in evaluation mode.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: damaged, or of another system; names the file.
    """
    content = read_config(directory)
    if content["system"] != SYSTEM:
        raise ValueError(f"{directory}: expected {SYSTEM}, found {content['system']!r}")
    config: dict[str, Any] = dict(content["config"])
    try:
        model = ObjectEvidence(EvidenceConfig(**config))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{directory}: expected dim and op, found {config}: {error}") from error
    load_weights(model, directory)
    return model.eval()


def sights_of(
    found: NDArray[np.float32],
    depth: NDArray[np.float32],
    intrinsics: NDArray[np.float64],
    base_from_camera: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Sights (K, 4) of K kinds in a picture with depth; of what lies where no depth is known, nothing is seen.

    Args:
        found: (K, F), as of `ThingFinder`s: how sure each is there, a number that is not used, and x and y from -1 to
            1, both faded by how sure it is.
        depth: (H, W) metres along the optical axis, NaN where unknown.
        intrinsics: (3, 3), pixels.
        base_from_camera: (4, 4), of the optical frame (REP 103).
    """
    size = np.array(depth.shape[::-1])
    sure = found[:, 0].astype(np.float64)
    pixels = (found[:, 2:4] / np.maximum(sure, 1e-6)[:, None] + 1) / 2 * size
    column, row = np.clip(pixels.astype(int), 0, size - 1).T
    z = depth[row, column].astype(np.float64)
    known = np.isfinite(z) & (z > 0)
    seen = np.concatenate([pixels, np.ones((len(found), 1))], axis=1) @ np.linalg.inv(intrinsics).T
    points = seen * np.where(known, z, 0.0)[:, None] @ base_from_camera[:3, :3].T + base_from_camera[:3, 3]
    return np.concatenate([points, (sure * known)[:, None]], axis=1).astype(np.float32)


def mean_place(sights: Tensor) -> Tensor:
    """Means (B, 3) of sights (B, n, 4), weighted by how sure they are."""
    place, sure = sights.split((3, 1), dim=-1)
    return (place * sure).sum(dim=1) / sure.sum(dim=1)


def drawn_sights(
    count: int,
    sights: int,
    generator: torch.Generator,
    *,
    noise: float = 0.015,
    missed: float = 0.2,
    mistaken: float = 0.25,
) -> tuple[Tensor, Tensor]:
    """Drawn objects, as they may be seen.

    Args:
        count: objects B.
        sights: n of each.
        generator: draws everything.
        noise: standard deviation of each coordinate, m.
        missed: share of the sights, but for the first, that see nothing.
        mistaken: share of the sights that see something else in its stead, always the same.

    Returns:
        Sights (B, n, 4) and places (B, 3).
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    place, other = (torch.tensor(CENTRE) + torch.tensor(REACH) * (2 * uniform(count, 3) - 1) for _ in range(2))
    false = uniform(count, sights, 1) < mistaken
    seen = torch.where(false, other[:, None], place[:, None])
    seen = seen + noise * torch.randn(count, sights, 3, generator=generator)
    sure = torch.where(false, 0.5, 0.6) + 0.4 * uniform(count, sights, 1)
    gone = uniform(count, sights, 1) < missed
    gone[:, 0] = False
    return torch.cat([seen, sure.masked_fill(gone, 0.0)], dim=-1), place
