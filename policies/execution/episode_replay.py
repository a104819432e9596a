"""`EpisodeReplay`: leads an arm along recorded joint positions, after it has been brought to their start.

Asked at each joint state, it answers with chunks of joint targets, which the scheduler turns into trajectories as it
does with a policy's chunks; the arm gateway judges them all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from policies.execution.chunk_scheduler import ChunkScheduler
from policies.execution.trajectory import JointTrajectory
from policies.interface import ActionChunk
from policies.robots.spec import RobotSpec


class Phase(Enum):
    """What the replay is doing."""

    APPROACH = auto()  # on the way to the start of the recording
    REPLAY = auto()
    SETTLE = auto()  # the last target is held until the arm is there
    DONE = auto()


@dataclass(frozen=True, slots=True)
class ReplayConfig:
    """How a recording is replayed.

    Attributes:
        start_tolerance_rad: the replay begins when every arm joint is so near to its start.
        approach_fraction: of the robot's velocity limits, on the way to the start.
        max_approach_rad: a start that is further away, for any arm joint, is refused.
        approach_lead_rad: the way to the start waits for an arm joint that is so far behind.
        approach_slack_s: the approach may take so much longer than planned.
        settle_s: time to reach the last target.
        chunk_length: targets in each chunk.
    """

    start_tolerance_rad: float = field(default=0.02, metadata={"range": (0.001, 0.3)})
    approach_fraction: float = field(default=0.2, metadata={"range": (0.01, 1.0)})
    max_approach_rad: float = field(default=3.2, metadata={"range": (0.0, 7.0)})
    approach_lead_rad: float = field(default=0.15, metadata={"range": (0.01, 1.0)})
    approach_slack_s: float = field(default=5.0, metadata={"range": (0.1, 60.0)})
    settle_s: float = field(default=0.5, metadata={"range": (0.0, 10.0)})
    chunk_length: int = field(default=5, metadata={"range": (2, 100)})


class ReplayError(Exception):
    """The recording cannot be replayed on this arm, or the arm does not follow; says what was expected and found."""


class EpisodeReplay:
    """State machine of one replay.

    Args:
        spec: the robot.
        path: (T, n) joint targets, rad (m), in the robot's order.
        period: seconds between them.
        config: how it is done.

    Attributes:
        phase: what it is doing.
        deviations: largest distance (rad) of an arm joint from the recording, at each joint state of the replay.

    Raises:
        ReplayError: the path does not fit the robot, or leaves its limits.
    """

    def __init__(
        self, spec: RobotSpec, path: NDArray[np.float64], period: float, config: ReplayConfig | None = None
    ) -> None:
        path = np.asarray(path, dtype=np.float64)
        if path.ndim != 2 or len(path) < 2 or path.shape[1] != len(spec.joint_names):
            raise ReplayError(f"recording: expected (T, {len(spec.joint_names)}) joint targets, found {path.shape}")
        if not np.isfinite(path).all():
            raise ReplayError("recording: expected finite joint targets, found others")
        self.phase = Phase.APPROACH
        self.deviations: list[float] = []
        self._spec, self._period, self._config = spec, period, config or ReplayConfig()
        self._path = np.clip(path, spec.lower, spec.upper)
        overshoot = np.abs(self._path - path).max(axis=0)
        if overshoot.max() > self._config.start_tolerance_rad:
            joint = int(np.argmax(overshoot))
            raise ReplayError(
                f"recording: {spec.joint_names[joint]}: expected within [{spec.lower[joint]:.3f}, "
                f"{spec.upper[joint]:.3f}], found {overshoot[joint]:.3f} rad (m) outside"
            )
        self._scheduler = ChunkScheduler(spec)
        self._approach: NDArray[np.float64] | None = None
        self._began = self._asked_at = self._waited_s = 0.0

    def step(self, stamp: float, positions: NDArray[np.float64], now: float) -> JointTrajectory | None:
        """Answer a joint state.

        Args:
            stamp: of the joint state, seconds.
            positions: (n,) measured joint positions, rad (m).
            now: present time on the clock of the stamps.

        Returns:
            What to send to the gateway; None when the replay is done.

        Raises:
            ReplayError: the start is too far away, or was not reached in time.
        """
        if self._approach is None:
            self._approach = self._way_to_start(positions)
            self._began = self._asked_at = stamp
        elapsed = stamp - self._began
        if self.phase is Phase.APPROACH:
            elapsed = self._along_the_way(stamp, positions)
            if self._at_start(positions, elapsed):
                self.phase, self._began, elapsed = Phase.REPLAY, stamp, 0.0
                self._scheduler.reset()
        if self.phase is Phase.REPLAY:
            self.deviations.append(self.deviation(elapsed, positions))
        duration = (len(self._path) - 1) * self._period
        if self.phase is Phase.REPLAY and elapsed >= duration:
            self.phase = Phase.SETTLE
        if self.phase is Phase.SETTLE and elapsed >= duration + self._config.settle_s:
            self.phase = Phase.DONE
        if self.phase is Phase.DONE:
            return None
        path = self._approach if self.phase is Phase.APPROACH else self._path
        due = elapsed + self._period * np.arange(1, self._config.chunk_length + 1)
        chunk = ActionChunk(stamp, self._period, "joint", _sample(path, due / self._period))
        return self._scheduler.plan(chunk, positions, now)

    def deviation(self, elapsed: float, positions: NDArray[np.float64]) -> float:
        """Largest distance (rad) of an arm joint from the recording, `elapsed` seconds after its start."""
        arm = self._spec.arm_joints
        wanted = _sample(self._path, np.array([elapsed / self._period]))[0]
        return float(np.abs(positions - wanted)[arm].max())

    def _way_to_start(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Targets (T, n) from here to the start: all joints together, gently begun and ended."""
        arm = self._spec.arm_joints
        way = self._path[0] - positions
        furthest = arm[int(np.argmax(np.abs(way[arm])))]
        if abs(way[furthest]) > self._config.max_approach_rad:
            raise ReplayError(
                f"start of the recording: {self._spec.joint_names[furthest]}: expected within "
                f"{self._config.max_approach_rad:g} rad of the arm, found {abs(way[furthest]):.3f} rad away"
            )
        # The fastest moment of the smooth step is twice as fast as its mean (pi / 2, rounded up).
        duration = 2 * float(np.max(np.abs(way) / (self._config.approach_fraction * self._spec.max_velocity)))
        count = max(2, int(np.ceil(duration / self._period)) + 1)
        share = (1 - np.cos(np.pi * np.linspace(0, 1, count))) / 2
        return positions + share[:, None] * way

    def _along_the_way(self, stamp: float, positions: NDArray[np.float64]) -> float:
        """Seconds along the way to the start: those since it began without those for which the arm did not follow."""
        since, self._asked_at = stamp - self._asked_at, stamp
        passed = stamp - self._began - self._waited_s
        lead = np.abs(_sample(self._approach, np.array([passed / self._period]))[0] - positions)
        if lead[self._spec.arm_joints].max() > self._config.approach_lead_rad:
            self._waited_s += since
            passed -= since
        return passed

    def _at_start(self, positions: NDArray[np.float64], elapsed: float) -> bool:
        arm = self._spec.arm_joints
        distance = float(np.abs(positions - self._path[0])[arm].max())
        planned = (len(self._approach) - 1) * self._period
        if elapsed < planned or distance > self._config.start_tolerance_rad:
            if elapsed + self._waited_s > planned + self._config.approach_slack_s:
                raise ReplayError(
                    f"start of the recording: expected the arm within {self._config.start_tolerance_rad:g} rad after "
                    f"{elapsed + self._waited_s:.1f} s, found it {distance:.3f} rad away; "
                    "the gateway's diagnostics say why"
                )
            return False
        return True


def _sample(path: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows (K, n) of a path (T, n) at fractional row numbers (K,), held at its end."""
    rows = np.clip(rows, 0, len(path) - 1)
    below = np.minimum(rows.astype(int), len(path) - 2)
    share = (rows - below)[:, None]
    return (1 - share) * path[below] + share * path[below + 1]
