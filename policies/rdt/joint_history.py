"""`joint_window`: the joints of the last control steps as the network sees them; `JointHistory` keeps them meanwhile.

Training and running policies make their windows by this one function. Rates are differences of positions and not
measured ones, which many recordings lack.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policies.interface import Observation
from policies.rdt.embodiment import Embodiment
from policies.rdt.unified_space import SIZE, slots_of, velocity_slots

KEPT_IN_A_STEP = 8
"""Most readings kept of one control step."""


def joint_window(
    embodiment: Embodiment, stamps: NDArray[np.float64], positions: NDArray[np.float64], now: float, steps: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Joints at the last control steps, the oldest first.

    Of a control step the nearest reading counts, if it is less than half a step away.

    Args:
        embodiment: of the robot; of kind "joint".
        stamps: (M,) of readings in their order, seconds.
        positions: (M, k) of these, rad (m).
        now: stamp of the newest control step.
        steps: number of control steps N.

    Returns:
        (N, 128) vectors with positions and rates, 1/s, in their slots of the unified space, zero where there was no
        reading, and (N,) where there was one. A step after one without reading has no rate.

    Raises:
        ValueError: see `Embodiment.state_to_unified`; or an embodiment of another kind.
    """
    places, rates = slots_of(embodiment.names), velocity_slots(embodiment.names)
    vectors, present = np.zeros((steps, SIZE), dtype=np.float32), np.zeros(steps, dtype=bool)
    if not len(stamps):
        return vectors, present
    period = 1.0 / embodiment.control_hz
    wanted = now - period * np.arange(steps - 1, -1, -1)
    after = np.searchsorted(stamps, wanted).clip(max=len(stamps) - 1)
    before = (after - 1).clip(min=0)
    nearest = np.where(wanted - stamps[before] < stamps[after] - wanted, before, after)
    present = np.abs(stamps[nearest] - wanted) < period / 2
    vectors[present] = embodiment.state_to_unified(positions[nearest[present]])[0]
    moved = present[1:] & present[:-1]
    passed = np.where(moved, np.diff(stamps[nearest]), 1.0)[:, None]
    vectors[1:, rates] = np.where(moved[:, None], np.diff(vectors[:, places], axis=0) / passed, 0.0)
    return vectors, present


class JointHistory:
    """What `joint_window` needs of the episode so far.

    Args:
        embodiment: of the robot.
        steps: control steps of the window.
    """

    def __init__(self, embodiment: Embodiment, steps: int) -> None:
        self._embodiment, self._steps = embodiment, steps
        self._period = 1.0 / embodiment.control_hz
        self._readings: deque[tuple[float, NDArray[np.float64]]] = deque()

    def reset(self) -> None:
        """Forget everything: another episode begins."""
        self._readings.clear()

    def add(self, observation: Observation) -> None:
        """Take the joints of an observation, and those that were read since the one before."""
        if observation.readings is not None:
            for stamp, positions in zip(observation.readings.stamps, observation.readings.positions, strict=True):
                self._add(float(stamp), positions)
        self._add(observation.stamp, observation.joint_positions)

    def window(self, stamp: float) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """See `joint_window`; empty of what no observation has told."""
        stamps = np.array([time for time, _ in self._readings])
        positions = np.array([joints for _, joints in self._readings])
        return joint_window(self._embodiment, stamps, positions, stamp, self._steps)

    def _add(self, stamp: float, positions: ArrayLike) -> None:
        readings = self._readings
        # A stamp that is not after the newest one means that time started anew, as when a simulator was reset.
        while readings and readings[-1][0] >= stamp:
            readings.pop()
        # An arm that is read more often than the window needs.
        if len(readings) > 1 and stamp - readings[-2][0] < self._period / KEPT_IN_A_STEP:
            readings.pop()
        readings.append((stamp, np.asarray(positions, dtype=np.float64)))
        while readings[0][0] < stamp - self._steps * self._period:
            readings.popleft()
