"""The unified action space: one vector of 128 numbers in which a slot means the same quantity on every robot.

Source: RDT-1B (arXiv 2410.07864), section 4.2 and appendix. States and actions share it. Values are physical (rad, m,
rad/s, m/s), except grippers, which go from 0 (closed) to 1 (open). Slots without a name are reserved.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

SIZE = 128
MIN_NORM = 1e-8
_SIDES = {"right": 0, "left": 50}


def _side_slots() -> dict[str, int]:
    """Slots of one side, counted from its first."""
    slots = {}
    for kind, joints, gripper in (("pos", 0, 10), ("vel", 15, 25)):
        slots |= {f"arm_joint_{i}_{kind}": joints + i for i in range(10)}
        slots |= {f"gripper_joint_{i}_{kind}": gripper + i for i in range(5)}
    slots |= {"gripper_open": 10, "gripper_open_vel": 25}
    slots |= {f"eef_pos_{axis}": 30 + i for i, axis in enumerate("xyz")}
    slots |= {f"eef_angle_{i}": 33 + i for i in range(6)}
    slots |= {f"eef_vel_{axis}": 39 + i for i, axis in enumerate("xyz")}
    return slots | {f"eef_angular_vel_{axis}": 42 + i for i, axis in enumerate(("roll", "pitch", "yaw"))}


def _all_slots() -> dict[str, int]:
    one = _side_slots()
    slots = dict(one)  # names without a side mean the right arm, or the only one
    for side, first in _SIDES.items():
        slots |= {f"{side}_{name}": first + slot for name, slot in one.items()}
    return slots | {"base_vel_x": 100, "base_vel_y": 101, "base_angular_vel": 102}


SLOTS: dict[str, int] = _all_slots()
"""Slot of each name. `gripper_open` shares its slot with `gripper_joint_0_pos`."""


def slots_of(names: Sequence[str]) -> NDArray[np.int64]:
    """Slots (k,) of k names.

    Raises:
        ValueError: a name is unknown, or two mean the same slot.
    """
    unknown = [name for name in names if name not in SLOTS]
    if unknown:
        raise ValueError(f"unified space: expected names such as 'left_arm_joint_0_pos', found {unknown}")
    slots = np.array([SLOTS[name] for name in names], dtype=np.int64)
    values, counts = np.unique(slots, return_counts=True)
    if (counts > 1).any():
        shared = [name for name, slot in zip(names, slots, strict=True) if slot in values[counts > 1]]
        raise ValueError(f"unified space: expected one name for each slot, found {shared} for the same")
    return slots


def velocity_slots(names: Sequence[str]) -> NDArray[np.int64]:
    """Slots (k,) of the velocities of k joints and grippers.

    Raises:
        ValueError: see `slots_of`; or one that has no velocity, as the rotation of a tool.
    """
    return slots_of([f"{name.removesuffix('_pos')}_vel" for name in names])


def fill(values: ArrayLike, names: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Write values into their slots.

    Args:
        values: (..., k) in the order of `names`.
        names: k names.

    Returns:
        (..., 128) vectors, zero elsewhere, and the (128,) mask with 1 in the written slots.

    Raises:
        ValueError: see `slots_of`; or another number of values than of names.
    """
    values, slots = np.asarray(values, dtype=np.float32), slots_of(names)
    if values.shape[-1:] != slots.shape:
        raise ValueError(f"unified space: expected {len(slots)} values for {len(slots)} names, found {values.shape}")
    vectors = np.zeros((*values.shape[:-1], SIZE), dtype=np.float32)
    vectors[..., slots] = values
    mask = np.zeros(SIZE, dtype=np.float32)
    mask[slots] = 1.0
    return vectors, mask


def extract(vectors: ArrayLike, names: Sequence[str]) -> NDArray:
    """Read the values (..., k) of k names from vectors (..., 128)."""
    vectors = np.asarray(vectors)
    if vectors.shape[-1:] != (SIZE,):
        raise ValueError(f"unified space: expected vectors of {SIZE} numbers, found shape {vectors.shape}")
    return vectors[..., slots_of(names)]


def rotation_to_6d(rotation: ArrayLike) -> NDArray[np.float64]:
    """First two columns (..., 6) of rotations (..., 3, 3), one after the other (arXiv 1812.07035)."""
    rotation = np.asarray(rotation, dtype=np.float64)
    return np.concatenate([rotation[..., :, 0], rotation[..., :, 1]], axis=-1)


def rotation_from_6d(six: ArrayLike) -> NDArray[np.float64]:
    """Rotations (..., 3, 3) from any (..., 6): the first column keeps its direction, the second its plane."""
    six = np.asarray(six, dtype=np.float64)
    x = _unit(six[..., :3])
    z = _unit(np.cross(x, six[..., 3:]))
    return np.stack([x, np.cross(z, x), z], axis=-1)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(min=MIN_NORM)
