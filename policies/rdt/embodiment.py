"""`Embodiment`: how one robot's numbers go into the unified action space and come out of it.

Rows relative to the state are those of UMI (arXiv 2402.10329, section III-B2), there of the tool's pose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policies.json_file import read_json
from policies.rdt.row_spacing import RowSpacing
from policies.rdt.unified_space import extract, fill, slots_of

Kind = Literal["joint", "eef"]
_ARM_JOINT = "arm_joint_"
_TOOL = (*(f"eef_pos_{axis}" for axis in "xyz"), *(f"eef_angle_{i}" for i in range(6)), "gripper_open")
LARGEST_VALUE = 10.0
"""Values of SI units are below it; degrees and encoder ticks are not."""


@dataclass(frozen=True)
class Embodiment:
    """A robot's numbers in the unified space: value in the space = (number - offset) / scale.

    Attributes:
        name: of the embodiment.
        names: k names of the unified space, in the robot's order.
        control_hz: rate of the commands.
        kind: "joint": the numbers are joint positions, rad (m). "eef": x, y, z (m) and the 6-D rotation of the tool in
            the base frame, then the gripper's opening, 0 to 1; `names` are those of `franka_eef` then.
        cameras: names of the exterior, the right wrist's (or only) and the left wrist's camera; "" for none.
        state_scale: (k,) of the state; all 1 if empty.
        state_offset: (k,) likewise; all 0 if empty.
        action_scale: (k,) of the action; the state's if empty. Measured and commanded grippers may differ.
        action_offset: (k,) likewise.
        relative: an arm joint's command is counted from its measured position, not from 0; grippers' are not. A network
            of a few million weights then need not reproduce the state to a hundredth of the joint's range.
        chunk_steps: commands that the rows of the network's chunk are spread over, see `RowSpacing`; by default each
            row is one.
        frequency: control frequency that the network is told, Hz; by default `control_hz`.
    """

    name: str
    names: tuple[str, ...]
    control_hz: float
    kind: Kind = "joint"
    cameras: tuple[str, str, str] = ("", "", "")
    state_scale: tuple[float, ...] = field(default=())
    state_offset: tuple[float, ...] = field(default=())
    action_scale: tuple[float, ...] = field(default=())
    action_offset: tuple[float, ...] = field(default=())
    relative: bool = False
    chunk_steps: int | None = None
    frequency: float | None = None

    def __post_init__(self) -> None:
        slots_of(self.names)
        count = len(self.names)
        if not self.control_hz > 0:
            raise ValueError(f"control_hz: expected > 0, found {self.control_hz}")
        if self.chunk_steps is not None and self.chunk_steps < 2:
            raise ValueError(f"chunk_steps: expected at least 2, found {self.chunk_steps}")
        if self.frequency is not None and not self.frequency >= 0:
            raise ValueError(f"frequency: expected >= 0, found {self.frequency}")
        if self.kind == "eef" and self.names != _TOOL:
            raise ValueError(f"names: expected {_TOOL} of kind 'eef', found {self.names}")
        if self.relative and self.kind != "joint":
            raise ValueError(f"relative: expected kind 'joint', found {self.kind!r}")
        if len(self.cameras) != 3:
            raise ValueError(f"cameras: expected exterior, right wrist, left wrist, found {self.cameras}")
        ones, zeros = (1.0,) * count, (0.0,) * count
        object.__setattr__(self, "state_scale", tuple(self.state_scale) or ones)
        object.__setattr__(self, "state_offset", tuple(self.state_offset) or zeros)
        object.__setattr__(self, "action_scale", tuple(self.action_scale) or self.state_scale)
        object.__setattr__(self, "action_offset", tuple(self.action_offset) or self.state_offset)
        for name in ("state_scale", "state_offset", "action_scale", "action_offset"):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if values.shape != (count,) or not np.isfinite(values).all():
                raise ValueError(f"{name}: expected {count} finite numbers, found {getattr(self, name)}")
            if name.endswith("scale") and (values == 0).any():
                raise ValueError(f"{name}: expected numbers other than 0, found {getattr(self, name)}")

    @property
    def told_frequency(self) -> float:
        """What the network is told, Hz."""
        return self.control_hz if self.frequency is None else self.frequency

    def spacing(self, rows: int) -> RowSpacing:
        """When the rows of a network's chunk of so many are due.

        Raises:
            ValueError: fewer rows than commands.
        """
        return RowSpacing(rows, rows if self.chunk_steps is None else self.chunk_steps)

    def state_to_unified(self, state: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Vectors (..., 128) and mask (128,) of measured numbers (..., k).

        Raises:
            ValueError: another number of values, or one that is not finite or beyond 10 in the space: degrees, ticks.
        """
        return self._filled(state, self.state_offset, self.state_scale)

    def action_to_unified(
        self, action: ArrayLike, state: ArrayLike | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Vectors (..., T, 128) and mask (128,) of commanded numbers (..., T, k), for training.

        Args:
            action: rows of commands.
            state: (..., k) measured when they were decided; only `relative` embodiments need it.

        Raises:
            ValueError: see `state_to_unified`; or no state where it is needed.
        """
        return self._filled(np.asarray(action) - self._origin(state), self.action_offset, self.action_scale)

    def action_from_unified(self, vectors: ArrayLike, state: ArrayLike | None = None) -> NDArray[np.float64]:
        """Commands (..., T, k) of vectors (..., T, 128); `state` as for `action_to_unified`."""
        values = extract(np.asarray(vectors, dtype=np.float64), self.names)
        return values * np.asarray(self.action_scale) + np.asarray(self.action_offset) + self._origin(state)

    def shift(self, state: ArrayLike, other: ArrayLike) -> NDArray[np.float32]:
        """What is added (128,) to vectors decided at a state (k,), to say the same commands from another state (k,)."""
        way = (self._origin(state) - self._origin(other)) / np.asarray(self.action_scale)
        return fill(np.broadcast_to(way, (1, len(self.names)))[0], self.names)[0]

    def _origin(self, state: ArrayLike | None) -> NDArray[np.float64] | float:
        """What commands (..., T, k) are counted from."""
        if not self.relative:
            return 0.0
        if state is None:
            raise ValueError(f"{self.name}: expected the state that relative commands are counted from, found none")
        is_arm = np.array([_ARM_JOINT in name for name in self.names])
        return (np.asarray(state, dtype=np.float64) * is_arm)[..., None, :]

    def _filled(
        self, values: ArrayLike, offset: tuple[float, ...], scale: tuple[float, ...]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        values = np.asarray(values, dtype=np.float64)
        if values.shape[-1:] != (len(self.names),):
            raise ValueError(f"{self.name}: expected {len(self.names)} numbers, found shape {values.shape}")
        scaled = (values - np.asarray(offset)) / np.asarray(scale)
        wrong = ~(np.abs(scaled) <= LARGEST_VALUE)
        if wrong.any():
            place = tuple(np.argwhere(wrong)[0])
            raise ValueError(
                f"{self.name}: {self.names[place[-1]]}: expected SI units, at most {LARGEST_VALUE:g}, "
                f"found {scaled[place]:g}"
            )
        return fill(scaled, self.names)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Embodiment:
        """Read what `to_dict` gives.

        Raises:
            ValueError: an unknown or missing field, or a value that does not fit; names it.
        """
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(content) - known):
            raise ValueError(f"embodiment: expected fields {sorted(known)}, found also {unknown}")
        try:
            return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in content.items()})
        except TypeError as error:
            raise ValueError(f"embodiment: {error}") from error

    @classmethod
    def from_json(cls, path: Path) -> Embodiment:
        """Read an embodiment of a user's robot from a JSON file.

        Raises:
            FileNotFoundError: no such file.
            ValueError: see `from_dict`; names the file.
        """
        try:
            return cls.from_dict(read_json(path))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Content of a JSON file."""
        return asdict(self)


def _arm(side: str, joints: int) -> tuple[str, ...]:
    return (*(f"{side}{_ARM_JOINT}{i}_pos" for i in range(joints)), f"{side}gripper_open")


# The ranges of joints and gripper, in rad and m, that the published ManiSkill fine-tune maps to [-1, 1].
_MANISKILL_STATE = (
    (-0.7463043928, -0.0801204965, -0.4976441562, -2.6577806473, -0.5742632151, 1.8309762478, -2.2423808575, 0.0),
    (0.7645499110, 1.4967026711, 0.4650936425, -0.3866899908, 0.5505855680, 3.2900545597, 2.5737812519, 0.0399999991),
)
_MANISKILL_ACTION = (
    (-0.7472005486, -0.0863107145, -0.4995281398, -2.6583631039, -0.5751323104, 1.8290787935, -2.2451879978, -1.0),
    (0.7654682398, 1.4984270334, 0.4678626359, -0.3818118572, 0.5517147779, 3.2915816307, 2.5758407116, 1.0),
)


def _to_unit(ranges: tuple[tuple[float, ...], tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
    low, high = np.array(ranges)
    return {"scale": tuple((high - low) / 2), "offset": tuple((high + low) / 2)}


ALOHA_AGILEX = Embodiment(
    name="aloha_agilex",
    names=(*_arm("left_", 6), *_arm("right_", 6)),
    control_hz=25.0,
    cameras=("cam_high", "cam_right_wrist", "cam_left_wrist"),
    state_scale=(*(1.0,) * 6, 4.7908, *(1.0,) * 6, 4.7888),
    action_scale=(*(1.0,) * 6, 11.8997, *(1.0,) * 6, 13.9231),
    action_offset=(0.0,) * 14,
)
"""The robot of the published fine-tune: two arms of 6 joints and a gripper, left first."""

FRANKA_JOINT = Embodiment("franka_joint", _arm("", 7), control_hz=25.0)
"""Joint positions of a Franka arm, and its gripper's opening."""

FRANKA_EEF = Embodiment(
    name="franka_eef",
    names=_TOOL,
    control_hz=10.0,
    kind="eef",
)
"""Pose of a Franka arm's tool, and its gripper's opening."""

MANISKILL = Embodiment(
    name="maniskill",
    names=_arm("", 7),
    control_hz=20.0,
    state_scale=_to_unit(_MANISKILL_STATE)["scale"],
    state_offset=_to_unit(_MANISKILL_STATE)["offset"],
    action_scale=_to_unit(_MANISKILL_ACTION)["scale"],
    action_offset=_to_unit(_MANISKILL_ACTION)["offset"],
    chunk_steps=16,
    frequency=25.0,
)
"""The published ManiSkill fine-tune, whose values are scaled and so mean nothing to other robots.

Its 64 rows are spread over 16 steps of the simulator, which makes 20 a second; the network is told 25 Hz. The published
evaluation executes every fourth row as one step, and so is a twentieth too slow; here each step is executed as it was
recorded.
"""

PANDA = Embodiment(
    name="panda",
    names=_arm("", 7),
    control_hz=10.0,
    cameras=("front", "wrist", ""),
    state_scale=(*(1.0,) * 7, 0.04),
)
"""The simulated Panda: joint 8 is one finger's position, 0 to 0.04 m."""

ALOHA = Embodiment(
    name="aloha",
    names=(*_arm("left_", 6), *_arm("right_", 6)),
    control_hz=25.0,
    cameras=("top", "right_wrist", "left_wrist"),
    state_scale=(*(1.0,) * 6, 0.035) * 2,
    state_offset=(*(0.0,) * 6, 0.002) * 2,
)
"""The simulated pair of ViperX arms, left first: joints 7 and 14 are a finger's position, 0.002 to 0.037 m."""

EMBODIMENTS: dict[str, Embodiment] = {
    embodiment.name: embodiment for embodiment in (ALOHA, ALOHA_AGILEX, FRANKA_JOINT, FRANKA_EEF, MANISKILL, PANDA)
}


def get_embodiment(name: str) -> Embodiment:
    """An embodiment by name, or from the JSON file of that path.

    Raises:
        ValueError: nothing of that name; lists the known ones. See also `Embodiment.from_json`.
    """
    if name in EMBODIMENTS:
        return EMBODIMENTS[name]
    if Path(name).suffix == ".json":
        return Embodiment.from_json(Path(name))
    raise ValueError(f"embodiment: expected one of {sorted(EMBODIMENTS)} or a JSON file, found {name!r}")
