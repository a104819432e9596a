"""`FaultProbe`: hears what the arm truly does, what it is told, and what the nodes say of their health."""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from policies.execution.controller_trajectories import ControllerTrajectories
from policies.execution.joint_states import JointStates
from policies.robots import get_drivers, get_robot
from policies.robots.drivers import RobotDrivers
from ros_nodes.diagnostics import Level
from ros_nodes.graph_client import GraphClient
from sim.motion_trace import WARM_UP_S, LimitUse, MotionTrace, SentCommand, executed, limit_use

# Deep enough for all that comes while the probe waits for a process to start.
HISTORY = QoSProfile(depth=2000, reliability=ReliabilityPolicy.RELIABLE)
SILENCE_S = 3.0  # diagnostics come once a second
KEPT_S = 300.0


@dataclass(frozen=True, slots=True)
class Naming:
    """A diagnostic that names a cause, or the answer of a service.

    Attributes:
        concern: `<node>: <concern>`, or the service.
        level: of the diagnostic; None for an answer.
        words: all of them are in its message.
    """

    concern: str
    level: Level | None
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """A diagnostic that came, or the answer of a service.

    Attributes:
        at: when, seconds of the wall clock.
        concern: `<node>: <concern>`, or the service.
        level: of the diagnostic; None for an answer.
        text: its message.
    """

    at: float
    concern: str
    level: Level | None
    text: str

    def __str__(self) -> str:
        source = f"answer of {self.concern}" if self.level is None else f"{self.concern} {self.level.name}"
        return f"{source}: {self.text}"

    def matches(self, naming: Naming) -> bool:
        """Whether it is what is looked for."""
        same = self.concern == naming.concern and self.level is naming.level
        return same and all(word in self.text for word in naming.words)


class FaultProbe(GraphClient):
    """Listens from the moment it is made; messages are handled while it waits for something.

    Args:
        robot: name of the robot.
        stop_requested: tells whether waiting should end early.

    Attributes:
        commands: trajectories for the arm's controllers so far, joined where there are several.
        told: diagnostics in the order in which they came, of a concern that is the same again only the first; and
            noted answers of services.
    """

    def __init__(self, robot: str, stop_requested: Callable[[], bool]) -> None:
        super().__init__("fault_matrix", stop_requested)
        self.spec, self._drivers = get_robot(robot), get_drivers(robot)
        self._joint_states = JointStates(self._drivers)
        self.told: list[Told] = []
        self._heard_at: dict[str, float] = {}
        self._newest: dict[str, Told] = {}
        self._samples: list[tuple[float, np.ndarray, np.ndarray]] = []
        self.commands: list[SentCommand] = []
        self._joiner = ControllerTrajectories(self._drivers)
        self._kept = [
            self.create_subscription(JointState, "simulator_node/joint_states", self._on_joints, HISTORY),
            self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, HISTORY),
        ]
        for place, controller in enumerate(self._drivers.controllers):
            self._kept.append(
                self.create_subscription(
                    JointTrajectoryMessage,
                    controller.topic,
                    lambda message, info, place=place: self._on_command(place, message, info),
                    HISTORY,
                )
            )

    @property
    def drivers(self) -> RobotDrivers:
        """What the robot's drivers call things."""
        return self._drivers

    def note_answer(self, service: str, text: str) -> None:
        """Add to `told` what a service answered."""
        self.told.append(Told(time.time(), service, None, text))

    def newest(self, concern: str, since: float = 0.0) -> Told | None:
        """The present diagnostic of a concern; None if none came after `since`."""
        return self._newest.get(concern) if self._heard_at.get(concern, 0.0) > since else None

    def named(self, namings: Sequence[Naming], since: float) -> Told | None:
        """The first diagnostic after `since` that is one of those looked for; counts nodes that fell silent."""
        self._notice_silence()
        for told in self.told[bisect.bisect_left(self.told, since, key=lambda entry: entry.at) :]:
            if any(told.matches(naming) for naming in namings):
                return told
        # What was told before and still holds names the cause as well.
        for told in self._newest.values():
            fresh = self._heard_at[told.concern] > since
            if fresh and any(told.matches(naming) for naming in namings):
                return told
        return None

    @property
    def positions(self) -> np.ndarray | None:
        """(n,) newest true joint positions, rad (m); None before the first."""
        return self._samples[-1][1] if self._samples else None

    def speed(self) -> float:
        """Of the fastest arm joint, rad/s, by the newest true joint state; 0 before the first."""
        return float(np.abs(self._samples[-1][2][self.spec.arm_joints]).max()) if self._samples else 0.0

    def trace(self, begin: float, end: float = np.inf) -> MotionTrace:
        """What the arm truly did from `begin` to `end`."""
        samples = [sample for sample in self._samples if begin <= sample[0] <= end]
        count = len(self.spec.joint_names)
        times = np.array([sample[0] for sample in samples])
        positions, velocities = (np.array([sample[part] for sample in samples]).reshape(-1, count) for part in (1, 2))
        return MotionTrace(times, positions, velocities)

    def limit_use(self, begin: float, end: float) -> LimitUse | None:
        """How much of the limits the executed signal took; None without a joint state to begin with."""
        before = self.trace(begin - WARM_UP_S, end)
        if not len(before.times):
            return None
        return limit_use(executed(self.commands, before.positions[0], self.spec, begin, end), self.spec)

    def forget(self) -> None:
        """Drop what is old."""
        horizon = time.time() - KEPT_S
        self._samples = [sample for sample in self._samples if sample[0] > horizon]
        self.commands = [command for command in self.commands if command.at > horizon]
        self.told = [told for told in self.told if told.at > horizon]

    def _on_joints(self, message: JointState) -> None:
        if (measured := self._joint_states.add(message)) is not None:
            self._samples.append((measured.time, measured.positions, measured.velocities))

    def _on_command(self, place: int, message: JointTrajectoryMessage, info: Mapping[str, int]) -> None:
        at = info["source_timestamp"] / 1e9
        if not message.points:
            self.commands.append(SentCommand(at, None))
            return
        trajectory = self._joiner.take(place, message)
        if trajectory is not None:
            self.commands.append(SentCommand(at, trajectory))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        now = time.time()
        for status in message.status:
            self._heard_at[status.name] = now
            told = Told(now, status.name, Level(status.level[0]), status.message)
            known = self._newest.get(status.name)
            if known is None or (known.level, known.text) != (told.level, told.text):
                self.told.append(told)
                self._newest[status.name] = told

    def _notice_silence(self) -> None:
        """Say of a concern that is not told any more, while others are, what an aggregator says: STALE."""
        now = max(self._heard_at.values(), default=0.0)
        for concern, heard_at in self._heard_at.items():
            if now - heard_at > SILENCE_S and self._newest[concern].level is not Level.STALE:
                told = Told(now, concern, Level.STALE, f"silent for {SILENCE_S:g} s")
                self._newest[concern] = told
                self.told.append(told)
