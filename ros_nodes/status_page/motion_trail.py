"""`MotionTrail`: where joints and tools were, where the plan of that moment wanted them, and where it goes on to."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policies.execution.kinematics import Kinematics
from policies.execution.trajectory import JointState, JointTrajectory, Motion
from policies.robots.spec import RobotSpec

WINDOW_S = 10.0
PERIOD_S = 0.1
POINTS_AHEAD = 16
DECIMALS = 4


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment.

    Attributes:
        time: stamp of the joint state, seconds.
        executed: (n,) measured positions, rad (m).
        planned: (n,) where the plan wanted the joints at that time; None where no plan ran.
        executed_tools: (arms, 3) metres in the base frame.
        planned_tools: (arms, 3) metres; None where no plan ran.
    """

    time: float
    executed: NDArray[np.float64]
    planned: NDArray[np.float64] | None
    executed_tools: NDArray[np.float64]
    planned_tools: NDArray[np.float64] | None


class MotionTrail:
    """Keeps the last `WINDOW_S` seconds. The only clock is that of the stamps of joint states and plans.

    Args:
        spec: the robot.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self._spec = spec
        self._kinematics = Kinematics(spec)
        self._samples: deque[Sample] = deque(maxlen=round(WINDOW_S / PERIOD_S) + 1)
        self._newest: JointState | None = None
        self._plan: Motion | None = None

    def add_joints(self, stamp: float, positions: ArrayLike, velocities: ArrayLike) -> None:
        """Take measured positions and velocities, (n,) each; stamps that jump back begin a new trail."""
        if self._newest is not None and stamp < self._newest.time:
            self._samples.clear()
            self._plan = None
        self._newest = JointState(stamp, np.array(positions, dtype=float), np.array(velocities, dtype=float))
        if self._samples and stamp - self._samples[-1].time < PERIOD_S:
            return
        planned = self._planned_at(stamp)
        self._samples.append(
            Sample(
                stamp,
                self._newest.positions,
                planned,
                self._tools(self._newest.positions),
                None if planned is None else self._tools(planned),
            )
        )

    def add_plan(self, trajectory: JointTrajectory) -> None:
        """Take a planned trajectory; it replaces the one before, from its stamp on.

        Raises:
            ValueError: its positions or velocities are not finite.
        """
        if not (np.isfinite(trajectory.positions).all() and np.isfinite(trajectory.velocities).all()):
            raise ValueError("planned trajectory: expected finite positions and velocities, found others")
        if self._newest is None:
            return
        time = max(self._newest.time, trajectory.stamp)
        planned = self._planned_at(time)
        start = self._newest if planned is None else self._plan.at(time)
        self._plan = Motion(trajectory, JointState(time, start.positions, start.velocities))

    def as_json(self) -> dict[str, Any]:
        """The trail for the page; times are seconds from the newest joint state on, so past ones are negative.

        `samples` of the past, `ahead` of the plan's future, and by arm the largest and mean distance between planned
        and executed tool, `largest_error_m` and `mean_error_m` (None where no plan ran).
        """
        now = 0.0 if self._newest is None else self._newest.time
        samples = [sample for sample in self._samples if sample.time >= now - WINDOW_S]
        errors = [
            np.linalg.norm(sample.executed_tools - sample.planned_tools, axis=1)
            for sample in samples
            if sample.planned_tools is not None
        ]
        return {
            "samples": [
                {
                    "time": _rounded(sample.time - now),
                    "executed": _rounded(sample.executed),
                    "planned": _rounded(sample.planned),
                    "executed_tools": _rounded(sample.executed_tools),
                    "planned_tools": _rounded(sample.planned_tools),
                }
                for sample in samples
            ],
            "ahead": self._ahead(now),
            "largest_error_m": _rounded(np.max(errors, axis=0)) if errors else None,
            "mean_error_m": _rounded(np.mean(errors, axis=0)) if errors else None,
        }

    def _ahead(self, now: float) -> list[dict[str, Any]]:
        if self._plan is None or now >= self._plan.end:
            return []
        times = np.linspace(max(now, self._plan.start.time), self._plan.end, POINTS_AHEAD)
        rows, _ = self._plan.sample_many(times)
        return [
            {"time": _rounded(time - now), "planned": _rounded(row), "planned_tools": _rounded(self._tools(row))}
            for time, row in zip(times, rows, strict=True)
        ]

    def _planned_at(self, time: float) -> NDArray[np.float64] | None:
        if self._plan is None or not self._plan.start.time <= time <= self._plan.end:
            return None
        return self._plan.sample(time)[0]

    def _tools(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        arms = range(len(self._spec.arms))
        return np.array([self._kinematics.forward(positions, arm)[:3, 3] for arm in arms])


def _rounded(values: ArrayLike | None) -> Any:
    return None if values is None else np.round(values, DECIMALS).tolist()
