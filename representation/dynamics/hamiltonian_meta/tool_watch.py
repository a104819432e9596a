"""`ToolWatch`: the energy alarm on readings as they come: when to fit a model of what is held, and what it says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from representation.dynamics.hamiltonian_meta.energy_alarm import EnergyAlarm, JointWindow
from representation.dynamics.hamiltonian_meta.joint_readings import EvenReadings


@dataclass(frozen=True, slots=True)
class WatchConfig:
    """What is watched.

    Attributes:
        period_s: of the readings that are looked at; others are interpolated.
        max_gap_s: longest time between two readings that come, by the stamps.
        calm_s: of the newest readings, that a model is fitted to.
        trusted_s: after which the next model is fitted, as friction and grip change slowly.
        least_swing: from one side to the other in the calm part, rad or m; what hangs still is not learned from.
    """

    period_s: float = 0.01
    max_gap_s: float = 0.1
    calm_s: float = 3.0
    trusted_s: float = 4.0
    least_swing: float = 0.05


class ToolWatch:
    """Readings of one joint, the model that was last fitted to a calm part, and whether it sounded.

    Who owns it asks `due`, fits an `EnergyAlarm` to what that gives, which takes a while, tells it by `fitted`, and
    asks `judge`. After it sounded nothing is fitted or judged: the tool may lie differently. `clear` begins anew.

    Args:
        config: what is watched.

    Attributes:
        alarm_stamp: of the first reading that was too many; None if none was.
        swing: from one side to the other of the newest calm part; 0 before there is one.
    """

    def __init__(self, config: WatchConfig) -> None:
        self.config = config
        self._calm = round(config.calm_s / config.period_s)
        self._readings = EvenReadings(config.period_s, config.max_gap_s)
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self._readings.clear()
        self.forget_model()

    def forget_model(self) -> None:
        """Forget the model, and that it sounded."""
        self.alarm_stamp: float | None = None
        self.swing = 0.0
        self._alarm: EnergyAlarm | None = None
        self._fitting, self._fit_next, self._judged = False, 0, 0

    @property
    def learned(self) -> bool:
        """Whether there is a model."""
        return self._alarm is not None

    @property
    def readings(self) -> int:
        """Readings so far."""
        return self._readings.count

    def add(self, stamp: float, positions: ArrayLike, velocities: ArrayLike) -> None:
        """Take a reading of the joint (1,).

        Raises:
            ReadingBreakError: stamps jumped; the model is forgotten and this reading begins anew.
            ValueError: it is not finite, and not taken.
        """
        try:
            self._readings.add(stamp, positions, velocities)
        finally:
            if self._readings.count <= 1:
                self.forget_model()

    def due(self) -> JointWindow | None:
        """The newest calm part if a model should be fitted to it now; it then counts as being fitted."""
        count = self._readings.count
        if self._fitting or self.alarm_stamp is not None or count < max(self._calm, self._fit_next):
            return None
        calm = self._readings.window(count - self._calm, count)
        self.swing = float(np.ptp(calm.positions, axis=0).max())
        if self.swing < self.config.least_swing:
            return None
        self._fitting = True
        if self._alarm is None:
            self._judged = count
        self._fit_next = count + round(self.config.trusted_s / self.config.period_s)
        return calm

    def fitted(self, alarm: EnergyAlarm) -> None:
        """Take the model of what `due` gave."""
        self._alarm, self._fitting = alarm, False

    def judge(self) -> float | None:
        """The most sigmas of the readings since the last time; None without a model, or after it sounded."""
        count, alarm = self._readings.count, self._alarm
        if alarm is None or self.alarm_stamp is not None or count <= self._judged:
            return None
        window = self._readings.window(self._judged - 2 * alarm.span, count)
        found = alarm.sigmas(window)[-(count - self._judged) :]
        above = np.flatnonzero(found > alarm.config.sigmas)
        if len(above):
            self.alarm_stamp = self._readings.stamp(count - len(found) + int(above[0]))
        self._judged = count
        return float(found.max())
