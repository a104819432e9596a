"""`JointLog`: the joints that were read since the last observation, which the next observation carries."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policies.interface import JointReadings

CAPACITY = 8192
"""Most readings kept: of an arm that is read a thousand times a second, those of the last eight seconds."""


class JointLog:
    """Takes readings as they come, and hands each out once. One thread may add while another takes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readings: deque[tuple[float, NDArray[np.float64]]] = deque(maxlen=CAPACITY)

    def clear(self) -> None:
        """Forget everything: another episode begins."""
        with self._lock:
            self._readings.clear()

    def add(self, stamp: float, positions: ArrayLike) -> None:
        """Take the joints (n,), rad (m), of a time in seconds.

        A stamp that is not after the newest one means that time started anew: what is not before it is forgotten.
        """
        with self._lock:
            while self._readings and self._readings[-1][0] >= stamp:
                self._readings.pop()
            self._readings.append((stamp, np.array(positions, dtype=np.float64)))

    def take(self, stamp: float) -> JointReadings | None:
        """The readings before the observation of a stamp, None if there are none; later ones wait for the next."""
        taken = []
        with self._lock:
            while self._readings and self._readings[0][0] <= stamp:
                taken.append(self._readings.popleft())
        taken = [reading for reading in taken if reading[0] < stamp]
        if not taken:
            return None
        return JointReadings(np.array([time for time, _ in taken]), np.stack([joints for _, joints in taken]))
