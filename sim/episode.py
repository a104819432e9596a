"""One episode of an evaluation, in process and in lockstep, and its result."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sim.episode_id import EpisodeId


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """What came of one episode.

    Attributes:
        id: the episode.
        success: whether the task's goal state held.
        progress: from 0 to 1, the most that was reached.
        steps: control steps taken.
        instruction: what the policy read.
        wall_s: duration in seconds of wall clock.
        inference_s: (Q,) seconds that the policy took for each of its Q queries.
        joint_targets: (M, n) positions of all knots of all trajectories that were sent to the controller, in order,
            rad (m for the gripper joint).
        rejected: number of queries whose trajectory the safety filter refused (the arm held instead).
        video: an encoded MP4 of the episode, or None.
    """

    id: EpisodeId
    success: bool
    progress: float
    steps: int
    instruction: str
    wall_s: float
    inference_s: NDArray[np.float64]
    joint_targets: NDArray[np.float64]
    rejected: int = 0
    video: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inference_s", np.asarray(self.inference_s, dtype=np.float64))
        targets = np.ascontiguousarray(self.joint_targets, dtype="<f8")
        if targets.ndim != 2:
            raise ValueError(f"joint_targets: expected (M, n), found shape {targets.shape}")
        object.__setattr__(self, "joint_targets", targets)

    @property
    def joint_targets_sha256(self) -> str:
        """Hash of the joint targets as little-endian float64, row by row."""
        return hashlib.sha256(self.joint_targets.tobytes()).hexdigest()
