"""The marked episodes of a bag: observations as the policy's node makes them live, and where the arm was led.

A bag is read in the order of its messages. They go through the same conversions, synchroniser and cadence as in the
policy's node. The commands are followed as the arm's controller follows them; its time is the stamp of the newest
joint state, so that wall clock and simulated time are read alike.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.execution.cadence import Cadence
from policies.execution.camera_pose import CameraConfig
from policies.execution.controller_trajectories import ControllerTrajectories
from policies.execution.observation_inputs import Handler, ObservationInputs
from policies.execution.observation_sync import SyncConfig
from policies.execution.trajectory import JointState, Motion
from policies.interface import Observation
from policies.robots.drivers import RobotDrivers
from policies.robots.spec import RobotSpec
from representation.data.bag_messages import decode
from representation.data.bag_reader import BagReader
from representation.data.episode_marks import MARKS_TOPIC, EpisodeMark, Event

TRANSFORMS, STATIC_TRANSFORMS = "tf", "tf_static"


@dataclass(frozen=True, slots=True)
class EpisodeStart:
    """An episode begins."""

    instruction: str


@dataclass(frozen=True, slots=True)
class EpisodeFrame:
    """One frame of the running episode.

    Attributes:
        observation: what the policy's node would have seen.
        target: (n,) rad (m), where the command leads the joints one period later; None where no command came yet.
        measured: (n,) where the joints were then.
    """

    observation: Observation
    target: NDArray[np.float64] | None
    measured: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EpisodeEnd:
    """The running episode is over; `event` None: the recording ended, or stamps jumped back, before its end."""

    event: Event | None


class CommandedMotion:
    """What the robot's controllers follow, from the trajectories that they got.

    Args:
        drivers: of the robot.
    """

    def __init__(self, drivers: RobotDrivers) -> None:
        self._parts = ControllerTrajectories(drivers)
        self._motion: Motion | None = None

    def add(self, controller: int, message: Any, measured: JointState | None) -> None:
        """Take a trajectory of a controller; `measured` is the newest joint state, whose time is the present."""
        if measured is None:
            return
        start = JointState(measured.time, measured.positions, np.zeros_like(measured.positions))
        if self._motion is not None:
            start = self._motion.at(max(measured.time, self._motion.start.time))
        if not message.points:  # cancels and holds
            self._motion = None
            return
        trajectory = self._parts.take(controller, message)
        if trajectory is None:
            return
        if trajectory.stamp == 0:
            trajectory = replace(trajectory, stamp=start.time)
        self._motion = Motion(trajectory, start)

    def at(self, time: float) -> NDArray[np.float64] | None:
        """Commanded joint positions (n,) at a time; None before the first command."""
        return None if self._motion is None else self._motion.at(max(time, self._motion.start.time)).positions


@dataclass(slots=True)
class BagCounts:
    """What was met in a bag.

    Attributes:
        refused: malformed messages, by topic; the newest one's reason is in `reasons`.
        reasons: why, by topic.
        rewinds: how often stamps jumped back.
        first_ns: when the first message was received, nanoseconds.
        last_ns: when the last was.
    """

    refused: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    rewinds: int = 0
    first_ns: int = 0
    last_ns: int = 0


class BagEpisodes:
    """Iterates over what happened in a bag: `EpisodeStart`, `EpisodeFrame`s, `EpisodeEnd`, and so on.

    Args:
        path: the bag.
        spec: the robot.
        drivers: names, topics and units of its drivers.
        cameras: names of the cameras.
        sync: tolerances of the synchroniser, as in the policy's node.
        hz: rate of the frames.
        namespace: of the robot's topics.
        calibrations: by camera, its latency, and its mount in place of the one that a topic tells.

    Raises:
        ValueError: a calibration's mount is none; names the camera.

    Attributes:
        counts: filled while iterating.
        reader: tells after the iteration whether the bag was cut off.
    """

    def __init__(
        self,
        path: Path,
        spec: RobotSpec,
        drivers: RobotDrivers,
        cameras: tuple[str, ...],
        sync: SyncConfig,
        hz: float,
        namespace: str = "",
        calibrations: Mapping[str, CameraConfig] | None = None,
    ) -> None:
        self.reader = BagReader(path)
        self.counts = BagCounts()
        self._drivers = drivers
        self._inputs = ObservationInputs(spec, drivers, cameras, sync, calibrations)
        self._motion = CommandedMotion(drivers)
        self._cadence = Cadence(hz)
        self._period = 1.0 / hz
        self._prefix = f"/{namespace.strip('/')}/" if namespace.strip("/") else "/"
        self._waiting: deque[Observation] = deque()
        self._running = False
        self._used = False  # whether the running episode has an observation

    def __iter__(self) -> Iterator[EpisodeStart | EpisodeFrame | EpisodeEnd]:
        handlers = self._handlers()
        controllers = enumerate(self._drivers.controllers)
        commands = {self._prefix + controller.topic: place for place, controller in controllers}
        marks = self._prefix + MARKS_TOPIC
        for entry in self.reader.messages({*handlers, *commands, marks}):
            self.counts.first_ns = self.counts.first_ns or entry.log_ns
            self.counts.last_ns = entry.log_ns
            try:
                message = decode(entry.data, entry.type)
                if entry.topic == marks:
                    yield from self._on_mark(EpisodeMark.from_json(message.data))
                elif entry.topic in commands:
                    self._motion.add(commands[entry.topic], message, self._inputs.joints)
                else:
                    yield from self._on_input(handlers[entry.topic], message, entry.log_ns * 1e-9)
            # The last two: another type than the topic should have.
            except (ValueError, AttributeError, TypeError) as error:
                self.counts.refused[entry.topic] = self.counts.refused.get(entry.topic, 0) + 1
                self.counts.reasons[entry.topic] = str(error)
            yield from self._resolved()
        if self._running:
            yield from self._end(None)

    def _handlers(self) -> Mapping[str, Handler]:
        handlers = {self._prefix + name: handler for name, handler in self._inputs.handlers().items()}
        for prefix in (self._prefix, "/"):  # robots may share the transforms
            handlers[prefix + TRANSFORMS] = self._inputs.add_transforms
            handlers[prefix + STATIC_TRANSFORMS] = self._inputs.add_static_transforms
        return handlers

    def _on_input(self, handler: Handler, message: Any, now: float) -> Iterator[EpisodeFrame | EpisodeEnd]:
        if handler(message, now):
            self.counts.rewinds += 1
            self._cadence.reset()
            if self._running and self._used:
                self._waiting.clear()
                yield from self._end(None)
        observation = self._inputs.take(now, lambda stamp: self._running and self._cadence.due(stamp))
        if observation is not None:
            self._cadence.use(observation.stamp)
            self._waiting.append(observation)
            self._used = True

    def _on_mark(self, mark: EpisodeMark) -> Iterator[EpisodeStart | EpisodeFrame | EpisodeEnd]:
        if mark.event == "start":
            if self._running:  # the recorder was started anew
                yield from self._end(None)
            self._running, self._used = True, False
            self._cadence.reset()
            yield EpisodeStart(mark.instruction)
        elif self._running:
            yield from self._end(mark.event)

    def _end(self, event: Event | None) -> Iterator[EpisodeFrame | EpisodeEnd]:
        """Frames whose next period has not come: the arm then goes where the last command leads it."""
        while self._waiting:
            yield self._frame(self._waiting.popleft())
        self._running = False
        yield EpisodeEnd(event)

    def _resolved(self) -> Iterator[EpisodeFrame]:
        """Frames whose next period has come: only then it is known where they were led."""
        while self._waiting and self._inputs.joints.time >= self._waiting[0].stamp + self._period:
            yield self._frame(self._waiting.popleft())

    def _frame(self, observation: Observation) -> EpisodeFrame:
        target = self._motion.at(observation.stamp + self._period)
        return EpisodeFrame(observation, target, self._inputs.joints.positions)
