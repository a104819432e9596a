"""The contracts between cameras, policies and arms: `Observation`, `ActionChunk`, `Policy`, `load_policy`.

Units are SI (metres, radians, seconds). Frames follow REP 103: the base frame is x forward, y left, z up; an optical
frame is x right, y down, z forward. Every array is checked when it is built, so the code behind these borders can
rely on shapes and finiteness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

ChunkKind = Literal["joint", "cartesian_delta", "cartesian_absolute"]


def _checked(name: str, value: object, shape: tuple[int | None, ...], dtype: type, finite: bool = True) -> NDArray:
    array = np.asarray(value, dtype=dtype)
    fits = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    if not fits:
        raise ValueError(f"{name}: expected shape {shape} (None = any), found {array.shape}")
    if finite and not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite values, found {int((~np.isfinite(array)).sum())} that are not")
    return array


@dataclass(frozen=True, slots=True)
class CameraView:
    """One camera's colour and registered depth image with its calibration.

    Attributes:
        rgb: (H, W, 3) uint8.
        depth: (H, W) float32, metres along the optical axis (z-depth, not range), NaN where unknown.
        intrinsics: (3, 3) float64, pixels; the centre of the top-left pixel is (0.5, 0.5).
        base_from_camera: (4, 4) float64, pose of the optical frame (REP 103) in the robot's base frame.
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    intrinsics: NDArray[np.float64]
    base_from_camera: NDArray[np.float64]

    def __post_init__(self) -> None:
        if np.asarray(self.rgb).dtype != np.uint8:
            raise ValueError(f"rgb: expected uint8, found {np.asarray(self.rgb).dtype}")
        rgb = _checked("rgb", self.rgb, (None, None, 3), np.uint8)
        depth = _checked("depth", self.depth, rgb.shape[:2], np.float32, finite=False)
        intrinsics = _checked("intrinsics", self.intrinsics, (3, 3), np.float64)
        if intrinsics[0, 0] <= 0 or intrinsics[1, 1] <= 0:
            raise ValueError(
                f"intrinsics: expected positive focal lengths, found {intrinsics[0, 0]}, {intrinsics[1, 1]}"
            )
        object.__setattr__(self, "rgb", rgb)
        object.__setattr__(self, "depth", depth)
        object.__setattr__(self, "intrinsics", intrinsics)
        object.__setattr__(
            self, "base_from_camera", _checked("base_from_camera", self.base_from_camera, (4, 4), np.float64)
        )


@dataclass(frozen=True, slots=True)
class JointReadings:
    """Joints at some times, in their order.

    Attributes:
        stamps: (M,) seconds, each later than the one before.
        positions: (M, n) rad (m for the gripper joint), in `RobotSpec.joint_names` order.
    """

    stamps: NDArray[np.float64]
    positions: NDArray[np.float64]

    def __post_init__(self) -> None:
        stamps = _checked("readings: stamps", self.stamps, (None,), np.float64)
        if (np.diff(stamps) <= 0).any():
            raise ValueError("readings: stamps: expected each later than the one before, found some that are not")
        positions = _checked("readings: positions", self.positions, (len(stamps), None), np.float64)
        object.__setattr__(self, "stamps", stamps)
        object.__setattr__(self, "positions", positions)


@dataclass(frozen=True, slots=True)
class Observation:
    """What a policy sees at one instant.

    Attributes:
        stamp: capture time in seconds on the graph's clock (simulated or wall).
        cameras: views by camera name.
        joint_positions: (n,) rad (m for the gripper joint), in `RobotSpec.joint_names` order.
        joint_velocities: (n,) rad/s (m/s), same order.
        instruction: what to do, in plain language.
        readings: joints since the observation before, where they were read in between, for policies that remember
            how the arm has moved; None where they were not. All are earlier than `stamp`.
        earlier: colour pictures (H, W, 3) uint8 of one control step before by the name of the camera, of the size of
            the one in `cameras`, for policies that look back; see `looks_back`. A camera whose picture is not known,
            as at the start of an episode, is left out.
    """

    stamp: float
    cameras: Mapping[str, CameraView]
    joint_positions: NDArray[np.float64]
    joint_velocities: NDArray[np.float64]
    instruction: str
    readings: JointReadings | None = None
    earlier: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        positions = _checked("joint_positions", self.joint_positions, (None,), np.float64)
        velocities = _checked("joint_velocities", self.joint_velocities, positions.shape, np.float64)
        object.__setattr__(self, "joint_positions", positions)
        object.__setattr__(self, "joint_velocities", velocities)
        if self.readings is not None and len(self.readings.stamps):
            _checked("readings: positions", self.readings.positions, (None, len(positions)), np.float64)
            if not self.readings.stamps[-1] < self.stamp:
                raise ValueError(f"readings: expected before {self.stamp} s, found one of {self.readings.stamps[-1]} s")
        for name, rgb in self.earlier.items():
            if name not in self.cameras:
                raise ValueError(f"earlier: expected pictures of {list(self.cameras)}, found one of {name!r}")
            expected, found = self.cameras[name].rgb.shape, (np.asarray(rgb).shape, np.asarray(rgb).dtype)
            if found != (expected, np.uint8):
                raise ValueError(f"earlier: {name}: expected uint8 {expected}, found {found[1]} {found[0]}")


TOKEN_KINDS = ("translation", "rotation", "gripper")
"""What the tokens of a row say, of a policy that writes actions as tokens."""


@dataclass(frozen=True, slots=True)
class ActionChunk:
    """A policy's answer to one observation: T rows of targets, `dt` seconds apart.

    Row i is due at `stamp + (i + 1) * dt`. What a row holds depends on `kind`:

    - `joint`: (T, n) absolute joint targets in `RobotSpec.joint_names` order, rad (m for the gripper joint).
    - `cartesian_delta`: (T, 7) dx, dy, dz (m) and droll, dpitch, dyaw (rad; fixed-axis xyz) of the tool, along the axes
      of the base frame, relative to the pose after the row before (row 0: to the observed pose); then the gripper,
      0 closed to 1 open. For several arms (T, 7 * arms), arm after arm.
    - `cartesian_absolute`: the same with x, y, z, roll, pitch, yaw of the tool in the base frame.

    Rows may hold non-finite values: rejecting them, loudly, is the safety filter's work.

    Attributes:
        stamp: stamp in seconds of the observation that this chunk answers.
        dt: seconds between rows, > 0.
        kind: meaning of the rows.
        rows: (T, n) or (T, 7 * arms) float64.
        confidence: (T,) probability of each row in [0, 1], or None where the policy has none.
        token_log_probs: (T, 3) natural logarithms of the probabilities of the tokens that a row of one arm was decoded
            from, in the order of `TOKEN_KINDS`; the row's confidence is then their product. None where there are none.
        committed: rows, from the first, that were made to say what the chunk before says; 0 where it begins afresh, see
            `Continuation`.
    """

    stamp: float
    dt: float
    kind: ChunkKind
    rows: NDArray[np.float64]
    confidence: NDArray[np.float64] | None = field(default=None)
    token_log_probs: NDArray[np.float64] | None = field(default=None)
    committed: int = 0

    def __post_init__(self) -> None:
        if not self.dt > 0:
            raise ValueError(f"dt: expected > 0 s, found {self.dt}")
        rows = _checked("rows", self.rows, (None, None), np.float64, finite=False)
        if len(rows) == 0:
            raise ValueError("rows: expected at least one row, found none")
        if self.kind != "joint" and (rows.shape[1] == 0 or rows.shape[1] % 7):
            raise ValueError(f"rows: expected (T, 7) for each arm, found {rows.shape}")
        if not 0 <= self.committed <= len(rows):
            raise ValueError(f"committed: expected 0 to {len(rows)} rows, found {self.committed}")
        if self.token_log_probs is not None:
            shape = (len(rows), len(TOKEN_KINDS))
            log_probs = _checked("token_log_probs", self.token_log_probs, shape, np.float64, finite=False)
            object.__setattr__(self, "token_log_probs", log_probs)
        object.__setattr__(self, "rows", rows)

    @property
    def end(self) -> float:
        """Time in seconds when the last row is due."""
        return self.stamp + len(self.rows) * self.dt


@runtime_checkable
class Policy(Protocol):
    """Turns observations into action chunks.

    Attributes:
        robot: name of the `RobotSpec` that the policy was trained for.
        cameras: names of the views that it reads.
        control_hz: rate of the rows of its chunks.
        chunk_length: number of rows T of its chunks.
    """

    robot: str
    cameras: tuple[str, ...]
    control_hz: float
    chunk_length: int

    def reset(self, seed: int | None = None) -> None:
        """Forget the episode so far; `seed` fixes the policy's own random draws, if it makes any."""
        ...

    def act(self, observation: Observation) -> ActionChunk:
        """Answer one observation."""
        ...

    def act_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """Answer independent observations together."""
        ...


ContinuationMethod = Literal["guided", "blend", "replace", "clean", "select"]
OverlapSchedule = Literal["exp", "linear", "ones", "zeros"]
GuidanceJacobian = Literal["exact", "identity"]


@dataclass(frozen=True, slots=True)
class Continuation:
    """How a chunk goes on with the one before.

    Attributes:
        committed: rows, from the first, that will be past when the answer is there: the arm will have executed what the
            chunk before says of them.
        method: "guided" along the network's Jacobian, "blend" of the two chunks, "replace" of the committed rows alone,
            "clean" rows for a network that was trained with such, or "select" of several chunks the one that fits best.
        beta: largest weight of the guidance.
        schedule: how the weights of the rows of the chunk before fall from the last committed one to its end, for
            "guided", "blend" and "select": between ("exp", "linear"), not at all ("ones") or at once ("zeros").
        jacobian: of "guided"; "identity" takes the correction as it is, which saves the pass back through the network.
        discarded: the answer before was not used, and the arm still executes the one before that.
    """

    committed: int
    method: ContinuationMethod = "guided"
    beta: float = 5.0
    schedule: OverlapSchedule = "exp"
    jacobian: GuidanceJacobian = "exact"
    discarded: bool = False


@runtime_checkable
class ContinuingPolicy(Policy, Protocol):
    """A policy whose chunks can go on with the one before (real-time chunking, arXiv 2506.07339)."""

    def act_on(self, observation: Observation, continuation: Continuation) -> ActionChunk:
        """Answer one observation so that the arm can pass from the chunk before to this one without a jump."""
        ...


def may_lack_cameras(policy: Policy) -> bool:
    """Whether a policy answers observations that lack some of its cameras, though not all.

    Policies that were trained for that say so by an attribute `may_lack_cameras`.
    """
    return bool(getattr(policy, "may_lack_cameras", False))


def looks_back(policy: Policy) -> bool:
    """Whether a policy looks at pictures of one control step, 1 / `control_hz`, before each observation too.

    Policies that do say so by an attribute `looks_back`; see `Observation.earlier`.
    """
    return bool(getattr(policy, "looks_back", False))


def query_steps(policy: Policy) -> int:
    """Control steps from one observation that a policy is to be asked to answer to the next.

    Policies that are not to be asked at every step say so by an attribute `query_steps`.
    """
    return int(getattr(policy, "query_steps", 1))


def load_policy(path_or_hub_id: str, device: str = "cpu", robot: str = "panda", compile: bool = False) -> Policy:
    """Load a policy from a directory or hub id holding `config.json`, `*.safetensors` and normalisation statistics.

    Args:
        path_or_hub_id: a directory, the name of a shipped checkpoint (`policies/checkpoints/<name>`), a hub id, or the
            address of a `policies.server`, such as `ws://127.0.0.1:8765`.
        device: torch device for the weights.
        robot: which robot a policy without weights shall move; those with weights know theirs.
        compile: compile what is run again and again, the steps of single tokens of a SpatialVLA policy or the network
            of an RDT; it takes a minute at the first answer.

    Raises:
        FileNotFoundError: nothing of that name; lists what is shipped.
        OSError: a server that cannot be reached, or does not let us in.
        ValueError: the directory is not a policy that this version can load; names the file and field.
    """
    from policies.loading import load

    return load(path_or_hub_id, device, robot, compile)
