"""What is to be told of clouds.

Columns of `Frames`, beside `points` and `label`, all in the frame of the points: `normals` (N, P, 3) unit vectors;
`approach` (N, 3) the unit vector along which a gripper should come; `pose` (N, 7) the object's place, metres, and
rotation, quaternion x, y, z, w.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from representation.data.clouds import clouds
from representation.data.frames import LABEL, POINTS, Frames

NORMALS, APPROACH, POSE = "normals", "approach", "pose"
ROTATION, CENTER = "rotation", "center"


@dataclass(frozen=True)
class Known:
    """What is told of clouds.

    Attributes:
        classes: number of labels; 0 if they have none.
        told: the other targets, out of `normals`, `approach` and `pose`.
    """

    classes: int = 0
    told: tuple[str, ...] = ()


def known_of(frames: Frames) -> Known:
    """What frames know of their clouds.

    Raises:
        ValueError: they have none, or nothing that could be told of them.
    """
    frames.need((POINTS,))
    classes = int(frames.columns[LABEL].max()) + 1 if LABEL in frames.columns else 0
    known = Known(classes, tuple(name for name in (NORMALS, APPROACH, POSE) if name in frames.columns))
    if known == Known():
        raise ValueError(f"frames: expected one of {[LABEL, NORMALS, APPROACH, POSE]}, found {sorted(frames.columns)}")
    return known


def targets_of(frames: Frames, rows: NDArray[np.int64]) -> dict[str, Tensor]:
    """Clouds (B, P, 3) and what is known of them: `label`, `normals`, `approach`, `rotation` (B, 3, 3), `center`.

    Raises:
        ValueError: a column has another shape.
    """
    points = clouds(frames, rows)
    found, shapes = {POINTS: points}, {NORMALS: points.shape, APPROACH: (len(rows), 3), POSE: (len(rows), 7)}
    for name, shape in shapes.items():
        if name not in frames.columns:
            continue
        values = frames.columns[name][rows]
        if values.shape != tuple(shape):
            raise ValueError(f"{name}: expected {tuple(shape)}, found {values.shape}")
        if name == POSE:
            found[CENTER] = torch.from_numpy(values[:, :3].astype(np.float32))
            found[ROTATION] = torch.from_numpy(Rotation.from_quat(values[:, 3:]).as_matrix().astype(np.float32))
        else:
            found[name] = torch.from_numpy(values.astype(np.float32))
    if LABEL in frames.columns:
        found[LABEL] = torch.from_numpy(frames.columns[LABEL][rows].astype(np.int64))
    return found


def turned(targets: Mapping[str, Tensor], turns: Tensor) -> dict[str, Tensor]:
    """Clouds and all that is told of them, after rotations (B, 3, 3) about the origin."""
    ways = {name: targets[name] for name in (POINTS, NORMALS, APPROACH, CENTER) if name in targets}
    found = {name: torch.einsum("bij,b...j->b...i", turns, way) for name, way in ways.items()}
    if ROTATION in targets:
        found[ROTATION] = turns @ targets[ROTATION]
    return {**targets, **found}


def random_turns(count: int, generator: torch.Generator) -> Tensor:
    """Rotations (count, 3, 3), all alike likely."""
    quaternion = torch.randn(count, 4, generator=generator).double().numpy()
    return torch.from_numpy(Rotation.from_quat(quaternion).as_matrix()).float()
