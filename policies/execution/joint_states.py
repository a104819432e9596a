"""`JointStates`: where all joints of a robot are, from messages that may each tell of some of them.

A message that has every joint with its velocity is a whole state, of its own stamp. Where several publishers tell of
some joints each, or velocities are missing, the state of the newest time is given up to which every joint is known:
what comes oftener is interpolated at that time. So a state is as old as the joint that came last, and a publisher that
falls silent ends the states, whatever the others send.

Velocities that are missing (an empty list, or not finite) are differences of positions over `SPAN_S`, or from message
to message where these come more seldom. A joint is not known before its velocity is: at its second message, and again
at the second one after `MAX_GAP_S` of silence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from math import inf, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.execution.trajectory import JointState
from policies.robots.drivers import RobotDrivers
from representation.data.camera_messages import seconds

SPAN_S = 0.02
MAX_GAP_S = 0.5
CAPACITY = 4096
"""Most samples kept of a joint while another one is waited for: the last four seconds of one that comes at 1 kHz."""


class JointStates:
    """Takes every sensor_msgs/JointState of a robot, and gives its states.

    Args:
        drivers: names and units of the joints.
    """

    def __init__(self, drivers: RobotDrivers) -> None:
        self._drivers = drivers
        self._names = tuple(drivers.joint_names)
        self._others: tuple[str, ...] = ()
        self.clear()

    def clear(self) -> None:
        """Forget every message."""
        self._time = -inf
        self._tracks = [_Track() for _ in self._names]

    def add(self, message: Any) -> JointState | None:
        """Take a message.

        Joints are matched by name; those of other robots are left out. Stamps that jump back begin anew: the states
        then jump back too, once every joint has come again.

        Returns:
            The robot's state, rad (m), if the message completes a newer one.

        Raises:
            ValueError: a joint is double, positions or velocities do not fit the names, or a position is not finite.
        """
        stamp, names = seconds(message.header.stamp), tuple(message.name)
        places, joints = _own(names, self._names)
        positions, velocities = self._read(message, places, joints)
        if not len(joints):
            self._others = names
            return None
        if len(joints) == len(self._names) and np.isfinite(velocities).all():
            self._time = stamp
            return JointState(stamp, positions, velocities)
        if any(stamp < self._tracks[joint].newest for joint in joints):
            self.clear()
        for joint in joints:
            self._tracks[joint].add(stamp, float(positions[joint]), float(velocities[joint]))
        return self._newer_state()

    def lack(self) -> str:
        """Which joints a newer state waits for, in words; empty where all of them come together."""
        newest = [max(track.newest, self._time) for track in self._tracks]
        oldest = min(newest)
        late = [name for name, stamp in zip(self._names, newest, strict=True) if stamp == oldest]
        if oldest == -inf:
            found = f", found {', '.join(self._others)}" if self._others else ""
            return f"joints {', '.join(late)} never came{found}"
        return f"joints {', '.join(late)} came last, stamped {oldest:.3f} s" if len(late) < len(newest) else ""

    def _read(
        self, message: Any, places: NDArray[np.intp], joints: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positions and velocities (n,), rad (m); NaN where the message does not tell them."""
        count = len(message.name)
        if len(message.position) != count:
            raise ValueError(f"joint_state: expected {count} positions, found {len(message.position)}")
        if len(message.velocity) not in (0, count):
            raise ValueError(f"joint_state: expected {count} velocities or none, found {len(message.velocity)}")
        told = np.asarray(message.position, dtype=np.float64)[places]
        if not np.isfinite(told).all():
            bad = [self._names[joint] for joint, value in zip(joints, told, strict=True) if not isfinite(value)]
            raise ValueError(f"joint_state: expected finite positions, found others for {bad}")
        moving = np.asarray(message.velocity, dtype=np.float64)[places] if count and len(message.velocity) else np.nan
        if len(joints) == len(self._names) and len(message.velocity):
            return self._drivers.from_driver(told, moving)
        positions, velocities = np.full((2, len(self._names)), np.nan)
        positions[joints], velocities[joints] = told, moving
        return self._drivers.from_driver(positions, velocities)

    def _newer_state(self) -> JointState | None:
        time = min(track.known_until for track in self._tracks)
        if time <= self._time:
            return None
        found = [track.at(time) for track in self._tracks]
        if None in found:  # stamps that do not meet, of clocks that differ
            return None
        self._time = time
        positions, velocities = np.array(found).T
        return JointState(time, positions.copy(), velocities.copy())


@lru_cache(maxsize=64)
def _own(found: Sequence[str], joint_names: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Places in `found` of the joints that it has of `joint_names`, and places of these there."""
    if len(set(found)) != len(found):
        raise ValueError(f"joint_state: expected each joint once, found {list(found)}")
    joints = [joint for joint, name in enumerate(joint_names) if name in found]
    places = [found.index(joint_names[joint]) for joint in joints]
    return np.array(places, dtype=np.intp), np.array(joints, dtype=np.intp)


class _Track:
    """Positions and velocities of one joint, by stamp."""

    def __init__(self) -> None:
        self.newest = -inf
        self._told: deque[tuple[float, float]] = deque()  # stamps and positions, for differences
        self._samples: deque[tuple[float, float, float]] = deque(maxlen=CAPACITY)

    @property
    def known_until(self) -> float:
        return self._samples[-1][0] if self._samples else -inf

    def add(self, stamp: float, position: float, velocity: float) -> None:
        """Take a position, and a velocity, or NaN where it is not told."""
        if stamp == self.newest:  # said again
            self._told.pop()
            if self._samples and self._samples[-1][0] == stamp:
                self._samples.pop()
        if self._told and stamp - self._told[-1][0] > MAX_GAP_S:
            self._told.clear()
        self.newest = stamp
        if not isfinite(velocity) and self._told:
            since, before = self._told[0]
            velocity = (position - before) / (stamp - since)
        self._told.append((stamp, position))
        while len(self._told) > 1 and self._told[1][0] <= stamp - SPAN_S:
            self._told.popleft()
        if isfinite(velocity):
            self._samples.append((stamp, position, velocity))

    def at(self, time: float) -> tuple[float, float] | None:
        """Position and velocity at a time, which must not go back; None where they are not known."""
        while len(self._samples) > 1 and self._samples[1][0] <= time:
            self._samples.popleft()
        if not self._samples or self._samples[0][0] > time:
            return None
        stamp, position, velocity = self._samples[0]
        if stamp == time:
            return position, velocity
        later, *values = self._samples[1]
        share = (time - stamp) / (later - stamp)
        return position + share * (values[0] - position), velocity + share * (values[1] - velocity)
