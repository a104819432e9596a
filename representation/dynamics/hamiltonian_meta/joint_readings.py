"""Readings of joints at even times, from streams, bags and datasets, for the energy alarm.

`EvenReadings` takes readings as they come; `read_bag` and `read_dataset` give whole recordings. Joints are found by
name. Velocities must be measured: what differences of positions scatter would hide a slip.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from representation.data.bag_messages import decode
from representation.data.bag_reader import BagReader
from representation.data.lerobot_dataset import LeRobotDataset
from representation.dynamics.hamiltonian_meta.energy_alarm import JointWindow

JOINT_STATE = "sensor_msgs/msg/JointState"
ROUNDING_S = 1e-6  # of stamps of this century as float64
STATE, VELOCITY = "observation.state", "observation.velocity"
MOST = 100_000  # readings that are kept


class ReadingBreakError(ValueError):
    """Stamps jumped: what follows is a window of its own."""


class EvenReadings:
    """Interpolates readings between those that come.

    Args:
        period_s: of the readings that are kept.
        max_gap_s: longest time between two that come.

    Attributes:
        count: readings at even times since the start, or since stamps jumped.
    """

    def __init__(self, period_s: float, max_gap_s: float) -> None:
        self.period_s, self._max_gap_s = period_s, max_gap_s
        self._rows: deque[NDArray[np.float64]] = deque(maxlen=MOST)
        self._last: tuple[float, NDArray[np.float64]] | None = None
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._rows.clear()
        self.count, self._began, self._last = 0, 0.0, None

    def add(self, stamp: float, positions: ArrayLike, velocities: ArrayLike) -> None:
        """Take a reading of joints (d,), rad (m) and per second; stamp in seconds.

        Raises:
            ReadingBreakError: the stamp is not after the last one, or too far after it; this reading begins anew.
            ValueError: it is not finite; it is not taken.
        """
        row = np.concatenate([np.asarray(positions, np.float64), np.asarray(velocities, np.float64)])
        if not np.isfinite([stamp, *row]).all():
            raise ValueError(f"reading: expected finite numbers, found {row.tolist()} at {stamp}")
        last = self._last
        broken = last is not None and not 0 < stamp - last[0] <= self._max_gap_s
        if last is None or broken:
            self.clear()
            self._began, last = stamp, (stamp, row)
        self._last = (stamp, row)
        passed = max(stamp - last[0], 1e-12)
        while (wanted := self._began + self.count * self.period_s) <= stamp + ROUNDING_S:
            share = (wanted - last[0]) / passed
            self._rows.append(last[1] + share * (row - last[1]))
            self.count += 1
        if broken:
            raise ReadingBreakError(
                f"stamp: expected one up to {self._max_gap_s:g} s after the last, found {stamp:.3f}"
            )

    def stamp(self, index: int) -> float:
        """Seconds of a reading."""
        return self._began + index * self.period_s

    def window(self, start: int, stop: int) -> JointWindow:
        """Readings from one to another, of those that are kept; counted from the start."""
        first = self.count - len(self._rows)
        rows = np.stack([self._rows[place - first] for place in range(max(start, first), stop)])
        return JointWindow(self.period_s, *np.split(rows, 2, axis=1))


def read_bag(path: Path, joints: Sequence[str], topic: str, period_s: float, max_gap_s: float = 0.1) -> JointWindow:
    """Joint states of a bag (MCAP), from the first that has the joints on.

    Raises:
        ValueError: no such bag, none of its messages of the topic has the joints, velocities are missing, or time has
            gaps.
    """
    readings = EvenReadings(period_s, max_gap_s)
    for message in BagReader(path).messages([topic]):
        if message.type != JOINT_STATE:
            raise ValueError(f"{topic}: expected {JOINT_STATE}, found {message.type}")
        content = decode(message.data, message.type)
        if not set(joints) <= set(content.name):
            continue  # of another driver
        stamp = content.header.stamp.sec + content.header.stamp.nanosec * 1e-9
        readings.add(stamp, *told_joints(content, joints))
    if not 0 < readings.count <= MOST:
        raise ValueError(
            f"{path}: expected 1 to {MOST} readings of {', '.join(joints)} on {topic}, found {readings.count}"
        )
    return readings.window(0, readings.count)


def read_dataset(root: Path, episode: int, joints: Sequence[str]) -> JointWindow:
    """Joints of an episode of a LeRobot dataset, frame by frame.

    Raises:
        ValueError: no such dataset or episode, or it does not name the joints or tell their velocities.
    """
    dataset = LeRobotDataset(root)
    found = []
    for key in (STATE, VELOCITY):
        if key not in dataset.info.features:
            raise ValueError(f"{root}: expected {key}, found {', '.join(sorted(dataset.info.features))}")
        names = list(dataset.info.features[key].names or ())
        if not set(joints) <= set(names):
            raise ValueError(f"{root}: {key}: expected the joints {', '.join(joints)}, found {names}")
        rows = dataset.episode(episode, [key])[key].reshape(-1, len(names)).astype(np.float64)
        found.append(rows[:, [names.index(name) for name in joints]])
    dataset.close()
    return JointWindow(1 / dataset.info.fps, *found)


def told_joints(message: Any, joints: Sequence[str]) -> tuple[list[float], list[float]]:
    """Positions and velocities of some joints of a sensor_msgs/JointState.

    Raises:
        ValueError: a joint is missing, or positions or velocities do not fit the names.
    """
    names = list(message.name)
    if not len(names) == len(message.position) == len(message.velocity):
        raise ValueError(
            f"joint_state: expected {len(names)} positions and velocities, found {len(message.position)} and "
            f"{len(message.velocity)}"
        )
    places = [names.index(name) for name in joints]
    return [message.position[place] for place in places], [message.velocity[place] for place in places]
