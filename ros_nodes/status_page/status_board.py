"""`StatusBoard`: everything that the page shows, gathered from callbacks and read by the server's threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from policies.execution.trajectory import JointTrajectory
from policies.robots.spec import RobotSpec
from ros_nodes.status_page.camera_pictures import CameraPictures
from ros_nodes.status_page.motion_trail import MotionTrail

MAX_STATUSES = 200
MAX_VALUES = 100
MAX_TEXT = 500  # characters


@dataclass(frozen=True, slots=True)
class Status:
    """One diagnostic_msgs/DiagnosticStatus.

    Attributes:
        name: `<node>: <concern>`.
        hardware: hardware id, such as the robot's name.
        level: 0 fine, 1 warning, 2 error, 3 stale.
        message: one sentence.
        values: figures by name.
    """

    name: str
    hardware: str
    level: int
    message: str
    values: Mapping[str, str]


class StatusBoard:
    """May be used from several threads. Every `now` is seconds on one clock that only goes forward.

    Args:
        spec: the robot.
        namespace: of its nodes, such as `/` or `/left`.
        cameras: names of the cameras that are shown.
    """

    def __init__(self, spec: RobotSpec, namespace: str, cameras: Sequence[str]) -> None:
        self.pictures = CameraPictures(cameras)
        self._spec = spec
        self._namespace = namespace
        self._lock = threading.Lock()
        self._trail = MotionTrail(spec)
        self._heard: dict[str, float] = {}
        self._problems: dict[str, tuple[float, str]] = {}
        self._instruction = ""
        self._statuses: dict[str, tuple[float, Status]] = {}
        self._nodes: dict[str, bool] = {}
        self._life_cycles: dict[str, str] = {}
        self._estop: bool | None = None
        self._gateway_listens = False
        self._estop_sources: Sequence[str] = ()

    def add_joints(self, stamp: float, positions: ArrayLike, velocities: ArrayLike, now: float) -> None:
        """Take measured joint positions and velocities, (n,) each, rad (m) and rad/s (m/s)."""
        with self._lock:
            self._trail.add_joints(stamp, positions, velocities)
            self._hear("joints", now)

    def add_plan(self, trajectory: JointTrajectory, now: float) -> None:
        """Take a planned trajectory.

        Raises:
            ValueError: it is not finite.
        """
        with self._lock:
            self._trail.add_plan(trajectory)
            self._hear("plan", now)

    def add_instruction(self, text: str) -> None:
        """Take what the robot is told to do."""
        with self._lock:
            self._instruction = text[:MAX_TEXT]

    def add_status(self, status: Status, now: float) -> None:
        """Take one status of the diagnostics; beyond `MAX_STATUSES` names the one that is silent for longest goes."""
        with self._lock:
            self._statuses.pop(status.name, None)
            self._statuses[status.name] = (now, status)
            if len(self._statuses) > MAX_STATUSES:
                del self._statuses[next(iter(self._statuses))]

    def refuse(self, source: str, reason: str, now: float) -> None:
        """Note that a message of `source` could not be used."""
        with self._lock:
            self._problems[source] = (now, reason[:MAX_TEXT])

    def see_nodes(self, names: Iterable[str]) -> None:
        """Take the nodes that the graph has now; those that were there before are shown as gone."""
        with self._lock:
            self._nodes = dict.fromkeys(self._nodes, False) | dict.fromkeys(names, True)

    def add_life_cycle(self, node: str, state: str) -> None:
        """Take the life-cycle state of a node; empty when it is unknown."""
        with self._lock:
            self._life_cycles[node] = state

    def add_estop(self, pressed: bool) -> None:
        """Take the newest message on `estop`."""
        with self._lock:
            self._estop = pressed

    def see_estop(self, gateway_listens: bool, other_sources: Sequence[str]) -> None:
        """Take whether the gateway hears this page's emergency stop, and which other nodes may press it too."""
        with self._lock:
            self._gateway_listens, self._estop_sources = gateway_listens, other_sources

    def as_json(self, now: float) -> dict[str, Any]:
        """The board as a document; ages are in seconds, None for what never came."""
        with self._lock:
            spec = self._spec
            return {
                "robot": spec.name,
                "namespace": self._namespace,
                "base_frame": spec.base_frame,
                "arms": [
                    {
                        "name": arm.name,
                        "workspace_low": list(arm.workspace_low),
                        "workspace_high": list(arm.workspace_high),
                    }
                    for arm in spec.arms
                ],
                "joints": [
                    {"name": name, "lower": low, "upper": high, "unit": "m" if place in spec.grippers else "rad"}
                    for place, (name, low, high) in enumerate(
                        zip(spec.joint_names, spec.lower.tolist(), spec.upper.tolist(), strict=True)
                    )
                ],
                "time": time.strftime("%H:%M:%S"),
                "instruction": self._instruction,
                "joints_age_s": self._age("joints", now),
                "plan_age_s": self._age("plan", now),
                "motion": self._trail.as_json(),
                "cameras": self.pictures.as_json(now),
                "nodes": [
                    {"name": name, "there": there, "state": self._life_cycles.get(name, "") if there else ""}
                    for name, there in sorted(self._nodes.items())
                ],
                "diagnostics": [self._status_json(*entry, now) for _, entry in sorted(self._statuses.items())],
                "problems": [
                    {"source": source, "reason": reason, "age_s": round(now - at, 2)}
                    for source, (at, reason) in sorted(self._problems.items())
                ],
                "estop": {
                    "pressed": self._estop,
                    "gateway_listens": self._gateway_listens,
                    "other_sources": list(self._estop_sources),
                },
            }

    def _hear(self, source: str, now: float) -> None:
        self._heard[source] = now
        self._problems.pop(source, None)

    def _age(self, source: str, now: float) -> float | None:
        return round(now - self._heard[source], 2) if source in self._heard else None

    def _status_json(self, at: float, status: Status, now: float) -> dict[str, Any]:
        node, _, concern = status.name.partition(": ")
        return {
            "node": node[:MAX_TEXT],
            "concern": concern[:MAX_TEXT],
            # Statuses name their node without the first slash; those of another namespace are another robot's.
            "own": f"/{node}".rpartition("/")[0] == self._namespace.rstrip("/"),
            "hardware": status.hardware[:MAX_TEXT],
            "level": status.level,
            "message": status.message[:MAX_TEXT],
            "values": {key[:MAX_TEXT]: value[:MAX_TEXT] for key, value in list(status.values.items())[:MAX_VALUES]},
            "age_s": round(now - at, 2),
        }
