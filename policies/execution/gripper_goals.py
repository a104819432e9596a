"""`GripperGoals`: what to ask of a gripper that takes goals one at a time, so that it follows a trajectory.

An action server moves the gripper by itself: it is told where a closing or an opening ends when that begins, not each
place on the way, and not what comes later in the trajectory.
"""

from __future__ import annotations

import numpy as np

from policies.execution.trajectory import JointTrajectory

STILL = 1e-3  # of the range; knots nearer to each other are one place
STEP = 0.02  # of the range; goals nearer than this to the last one are not sent, unless they are an end of the range
RETRY_S = 1.0


def led_to(trajectory: JointTrajectory, now: float, still: float) -> float:
    """Where the motion of a trajectory's only joint at `now` ends, or turns back.

    Args:
        trajectory: of one joint, rad (m), or in the units of its driver.
        now: seconds on the trajectory's clock.
        still: knots that differ by no more are one place.
    """
    times, places = trajectory.stamp + trajectory.times, trajectory.positions[:, 0]
    place = float(np.interp(now, times, places))
    if now < times[0]:
        return place
    direction = 0.0
    for following in places[times > now]:
        step = following - place
        if abs(step) <= still or step * direction < 0:
            break
        direction, place = direction or step, float(following)
    return place


class GripperGoals:
    """Decides when one gripper gets a new goal. All places are in the units of its driver.

    Args:
        low: least place.
        high: greatest place.
        min_interval_s: shortest time between two goals.

    Raises:
        ValueError: the range is empty.
    """

    def __init__(self, low: float, high: float, min_interval_s: float) -> None:
        if not low < high:
            raise ValueError(f"gripper: expected a range of places, found {low} to {high}")
        self._low, self._high, self._min_interval_s = low, high, min_interval_s
        self._trajectory: JointTrajectory | None = None
        self._sent: float | None = None
        self._not_before = -np.inf

    def follow(self, trajectory: JointTrajectory | None) -> None:
        """Follow a trajectory of the gripper's joint from now on; None to ask for nothing more."""
        self._trajectory = trajectory

    def due(self, now: float, steady: float) -> float | None:
        """The goal that must be sent now; None for none.

        Args:
            now: seconds on the clock of the trajectory.
            steady: seconds on a clock that only goes forward.
        """
        if self._trajectory is None or steady < self._not_before:
            return None
        span = self._high - self._low
        wanted = float(np.clip(led_to(self._trajectory, now, STILL * span), self._low, self._high))
        away = np.inf if self._sent is None else abs(wanted - self._sent)
        if away == 0 or (away < STEP * span and wanted not in (self._low, self._high)):
            return None
        self._sent, self._not_before = wanted, steady + self._min_interval_s
        return wanted

    def fail(self, steady: float) -> None:
        """The last goal was not reached, or nobody was there: send again what is wanted, after a while."""
        self._sent, self._not_before = None, max(self._not_before, steady + RETRY_S)
