"""From overlapping action chunks to one trajectory: which rows count, how they blend, how fast they are passed.

Modes of using a new chunk while older ones still have rows to come:

- `receding_horizon`: the newest chunk alone.
- `temporal_ensembling`: the mean of what the last chunks say of the same instant, weights exp(-T i) with i = 0 for the
  oldest (Zhao et al., "Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware", RSS 2023). The default
  T = -0.8 is SpatialVLA's: the newest chunk weighs most.
- `gated_ensembling`: the same, without older chunks that lead the other way (their way to the newest chunk's last
  instant has a negative cosine with its way): the mean of two ways around an obstacle would go through it.
- `adaptive_ensembling`: weights exp(alpha cos(step_i, step_newest)): older chunks count as far as they move the same
  way (Li et al., "CogACT", 2024).
  In all three of these grippers do as the newest chunk says: half open is neither open nor closed.
- `real_time_chunking`: the newest chunk alone, which the policy makes to go on with the one before: rows that are
  executed while it computes are fixed, later ones held to softly (Black et al., arXiv 2506.07339). Only for policies
  that can, see `policies.interface.ContinuingPolicy`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policies.execution.trajectory import JointTrajectory
from policies.interface import ActionChunk, ContinuationMethod, GuidanceJacobian, OverlapSchedule
from policies.robots.spec import RobotSpec

SchedulerMode = Literal[
    "receding_horizon", "temporal_ensembling", "gated_ensembling", "adaptive_ensembling", "real_time_chunking"
]

# Share of the gripper's velocity limit at which a jump between open and closed is spread over the rows.
GRIPPER_RATE = 0.5
# Share of the acceleration limit that the final stop may take.
STOP_EFFORT = 0.5
# Two rows are of the same instant when their due times differ by less.
SAME_INSTANT = 1e-6  # s


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """How overlapping chunks become one motion.

    Attributes:
        mode: see the module's docstring.
        window: number of chunks that are blended, the newest included.
        temperature: T of `temporal_ensembling` and `gated_ensembling`; negative weighs the newest chunk most.
        alpha: of `adaptive_ensembling`; 0 is the plain mean.
        method: of `real_time_chunking`, see `policies.interface.Continuation`.
        beta: of `real_time_chunking`, largest weight of the guidance.
        schedule: of `real_time_chunking`, how the weights of the overlapping rows fall, see `Continuation`.
        jacobian: of `real_time_chunking` by guidance: of the network, or the identity.
    """

    mode: SchedulerMode = "receding_horizon"
    window: int = field(default=4, metadata={"range": (1, 100)})
    temperature: float = field(default=-0.8, metadata={"range": (-10.0, 10.0)})
    alpha: float = field(default=0.1, metadata={"range": (0.0, 10.0)})
    method: ContinuationMethod = "guided"
    beta: float = field(default=5.0, metadata={"range": (0.0, 100.0)})
    schedule: OverlapSchedule = "exp"
    jacobian: GuidanceJacobian = "exact"

    def __post_init__(self) -> None:
        kinds = {
            "mode": SchedulerMode,
            "method": ContinuationMethod,
            "schedule": OverlapSchedule,
            "jacobian": GuidanceJacobian,
        }
        for name, kind in kinds.items():
            choices = get_args(kind)
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: expected one of {', '.join(choices)}, found {getattr(self, name)!r}")
        if self.window < 1:
            raise ValueError(f"window: expected at least 1 chunk, found {self.window}")


class ChunkScheduler:
    """Turns joint chunks, each in its turn, into trajectories.

    Args:
        spec: the robot.
        config: how chunks are blended.
    """

    def __init__(self, spec: RobotSpec, config: SchedulerConfig | None = None) -> None:
        self.spec = spec
        self.config = config or SchedulerConfig()
        self.dropped_rows = 0
        self._chunks: deque[ActionChunk] = deque(maxlen=self.config.window)
        self._gripper_plans: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}

    def reset(self) -> None:
        """Forget the chunks so far."""
        self._chunks.clear()
        self._gripper_plans.clear()

    def plan(self, chunk: ActionChunk, joint_positions: ArrayLike, now: float) -> JointTrajectory:
        """Return the trajectory from `now` on, with the chunk's stamp.

        Rows due sooner than one step after `now` are dropped (and counted in `dropped_rows`): the arm needs as long as
        between two rows to come from the motion that it is in to another. The last row is kept as long as it is to
        come. If all are past, the whole is passed on, for the arm gateway to reject by name. Knot velocities are
        Catmull-Rom's, limited so that no knot interval overshoots; after the last row comes a stop, for the next chunk
        to overwrite.
        A gripper target that jumps is approached at a rate that the gripper can follow, from where the plan before
        has it when the first row that is kept is due: an object between the fingers keeps the measured position from
        the commanded one.

        Args:
            chunk: newest chunk, of kind `joint`. Rows that are not finite are passed on: rejecting them is the
                safety filter's work.
            joint_positions: (n,) joint positions of the observation that the chunk answers, rad (m).
            now: present time in seconds on the clock of the stamps.

        Raises:
            ValueError: the chunk is not of kind `joint` or has another number of joints.
        """
        start = np.array(joint_positions, dtype=np.float64)
        if chunk.kind != "joint" or chunk.rows.shape[1:] != start.shape:
            raise ValueError(
                f"chunk: expected kind joint and {len(start)} columns, "
                f"found kind {chunk.kind} and {chunk.rows.shape[1]}"
            )
        times = chunk.dt * np.arange(1, len(chunk.rows) + 1)
        finite = np.isfinite(chunk.rows).all()
        rows = self._blend(chunk, start) if finite else chunk.rows.copy()
        if finite:
            self._chunks.append(chunk)
            self._limit_gripper_rate(rows, chunk, times, start, now)
        times, positions, velocities = self._knots(times, rows, start)
        lead = chunk.stamp + times - now
        keep = lead > chunk.dt - SAME_INSTANT
        keep[-2:] = lead[-2:] > SAME_INSTANT
        self.dropped_rows += int((~keep[:-1]).sum())
        if not keep[-2]:
            keep[:] = True
        return JointTrajectory(chunk.stamp, times[keep], positions[keep], velocities[keep])

    def _blend(self, chunk: ActionChunk, start: NDArray) -> NDArray[np.float64]:
        """Rows (T, n) of the newest chunk, blended with what older chunks say of the same instants."""
        if self.config.mode in ("receding_horizon", "real_time_chunking"):
            return chunk.rows.copy()
        rows = np.empty_like(chunk.rows)
        previous = np.vstack([start, chunk.rows[:-1]])
        older = list(self._chunks)[-(self.config.window - 1) :] if self.config.window > 1 else []
        if self.config.mode == "gated_ensembling":
            older = [old for old in older if _agrees(old, chunk, start)]
        for k in range(len(rows)):
            due = chunk.stamp + (k + 1) * chunk.dt
            predictions = [(old, _at(old, due)) for old in older]
            found = [(old, row) for old, row in predictions if row is not None]
            stack = np.array([*(row for _, row in found), chunk.rows[k]])  # (m, n), oldest first
            if self.config.mode in ("temporal_ensembling", "gated_ensembling"):
                weights = np.exp(-self.config.temperature * np.arange(len(stack)))
            else:
                newest_step = chunk.rows[k] - previous[k]
                steps = [row - previous[k] for row in stack]
                weights = np.exp(self.config.alpha * np.array([_cosine(step, newest_step) for step in steps]))
            rows[k] = weights @ stack / weights.sum()
        rows[:, self.spec.grippers] = chunk.rows[:, self.spec.grippers]
        return rows

    def _limit_gripper_rate(
        self, rows: NDArray, chunk: ActionChunk, times: NDArray, start: NDArray, now: float
    ) -> None:
        late = chunk.stamp + times < now + chunk.dt - SAME_INSTANT
        for joint in self.spec.grippers:
            step = GRIPPER_RATE * self.spec.max_velocity[joint] * chunk.dt
            before = self._gripper_plans.get(joint)
            position = start[joint] if before is None else np.interp(chunk.stamp, *before)
            first = position
            for row, time, is_late in zip(rows, times, late, strict=True):
                if not is_late:
                    position = position + np.clip(row[joint] - position, -step, step)
                elif before is not None:  # meanwhile it does as the plan before says
                    position = np.interp(chunk.stamp + time, *before)
                row[joint] = position
            self._gripper_plans[joint] = (chunk.stamp + np.array([0.0, *times]), np.array([first, *rows[:, joint]]))
            start[joint] = first

    def _knots(self, times: NDArray, rows: NDArray, start: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        """Times (T + 1,), positions and velocities (T + 1, n): the rows, then the stop."""
        slopes = np.diff(np.vstack([start, rows]), axis=0) / times[0]  # (T, n), into each row
        before, after = slopes[:-1], slopes[1:]
        monotone = 3 * np.minimum(np.abs(before), np.abs(after)) * (before * after > 0)
        inner = np.clip((before + after) / 2, -monotone, monotone)
        # Grippers arrive at their ends gently, so that slowing the trajectory does not make them overshoot.
        grippers = self.spec.grippers
        inner[:, grippers] = (np.sign(before) * monotone / 3)[:, grippers]
        last = slopes[-1]
        effort = STOP_EFFORT * self.spec.max_acceleration
        duration = max(times[0], float(np.max(np.abs(last) / effort))) if np.isfinite(last).all() else times[0]
        room = np.where(last > 0, self.spec.upper - rows[-1], rows[-1] - self.spec.lower).clip(min=0.0)
        last = np.clip(last, -2 * room / duration, 2 * room / duration)
        stop = rows[-1] + last * duration / 2
        return (
            np.append(times, times[-1] + duration),
            np.vstack([rows, stop]),
            np.vstack([inner, last, np.zeros_like(last)]),
        )


def _at(chunk: ActionChunk, time: float) -> NDArray[np.float64] | None:
    """What a chunk says of an instant: (n,), between its rows by linear interpolation; None outside them."""
    row = (time - chunk.stamp) / chunk.dt - 1
    slack = SAME_INSTANT / chunk.dt
    if not -slack <= row <= len(chunk.rows) - 1 + slack:
        return None
    row = np.clip(row, 0, len(chunk.rows) - 1)
    nearest = round(float(row))
    if abs(row - nearest) <= slack:
        return chunk.rows[nearest]
    below = int(row)
    return chunk.rows[below] + (row - below) * (chunk.rows[below + 1] - chunk.rows[below])


def _agrees(old: ActionChunk, new: ActionChunk, start: NDArray) -> bool:
    """Whether two chunks lead from a start (n,) the same way, as far as both go."""
    until = min(old.end, new.end)
    ways = [_at(chunk, until) for chunk in (old, new)]
    return any(way is None for way in ways) or _cosine(ways[0] - start, ways[1] - start) >= 0


def _cosine(a: NDArray, b: NDArray) -> float:
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norm) if norm > 0 else 0.0
