"""`tool_watch_node`: tells whether a tool that swings in the gripper was hit, or slips, by the energy of its joint.

The joint is named `joint` and comes with its velocity in the robot's joint states, in a message of its own or among
others. While the tool swings freely, a model of its energy (`representation.dynamics.hamiltonian_meta`) is fitted in
the worker to the newest `watch.calm_s` seconds; from then on the mean energy of the newest swing is compared with that
of the swing before. `~/energy_drift` tells it after every reading, or as often as `rate_hz` allows. Once the alarm
sounded it stays: activating the node again begins anew, as after each grasp. Nothing that moves the arm depends on it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import JointState

from policies.execution.cadence import Cadence
from policies.robots import get_drivers
from representation.dynamics.hamiltonian_meta import HamiltonianNet
from representation.dynamics.hamiltonian_meta.energy_alarm import AlarmConfig, EnergyAlarm, JointWindow
from representation.dynamics.hamiltonian_meta.joint_readings import ReadingBreakError, told_joints
from representation.dynamics.hamiltonian_meta.tool_watch import ToolWatch, WatchConfig
from representation.registry import load_model
from ros_nodes.convert import seconds
from ros_nodes.diagnostics import Health, Latencies, Level, figures_message
from ros_nodes.lifecycle_node import LoadingLifecycleNode
from ros_nodes.node_process import run_node
from ros_nodes.params import declare
from ros_nodes.qos import STATUS, joint_state_in

LOG_PERIOD_S = 2.0
REFUSED_FOR_S = 2.0  # that a refusal stays in the diagnostics
WARM_UP_STEPS = 2


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What the node listens to.

    Attributes:
        robot: name, or YAML file, of the robot, whose topic of joint states is used.
        autostart: configure and activate without being asked.
        joint: name of the joint that the tool swings in; a hinge, or a slide.
        rate_hz: how often the drift is told, at most, by the stamps; 0 for every reading.
        max_age_s: what has not come for this long counts as missing (steady clock).
    """

    robot: str = "panda"
    autostart: bool = False
    joint: str = ""
    rate_hz: float = field(default=20.0, metadata={"range": (0.0, 1000.0)})
    max_age_s: float = field(default=1.0, metadata={"range": (0.01, 60.0)})


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Which network, and how it is fitted.

    Attributes:
        path: directory of a Hamiltonian network of one body with one coordinate.
        samples: readings of the calm part that it is fitted to.
        steps: of Adam.
        lr: of Adam.
        threads: threads of torch on the CPU.
        load_limit_s: longest time to load and warm up.
    """

    path: str = ""
    samples: int = field(default=50, metadata={"range": (9, 10_000)})
    steps: int = field(default=200, metadata={"range": (1, 100_000)})
    lr: float = field(default=5e-3, metadata={"range": (1e-8, 1.0)})
    threads: int = field(default=1, metadata={"range": (1, 256)})
    load_limit_s: float = field(default=60.0, metadata={"range": (1.0, 86400.0)})


@dataclass(frozen=True, slots=True)
class SwingConfig:
    """What is watched; see `WatchConfig`.

    Attributes:
        period_s: of the readings that are looked at.
        max_gap_s: longest time between two readings, by the stamps.
        calm_s: that a model is fitted to.
        trusted_s: after which the next one is fitted.
        least_swing: from one side to the other, rad or m, below which nothing is learned.
        sigmas: of the calm scatter that sound the alarm.
    """

    period_s: float = field(default=0.01, metadata={"range": (0.001, 1.0)})
    max_gap_s: float = field(default=0.1, metadata={"range": (0.001, 10.0)})
    calm_s: float = field(default=3.0, metadata={"range": (0.5, 60.0)})
    trusted_s: float = field(default=4.0, metadata={"range": (0.1, 3600.0)})
    least_swing: float = field(default=0.05, metadata={"range": (0.0, 100.0)})
    sigmas: float = field(default=5.0, metadata={"range": (0.1, 1e6)})


@dataclass(frozen=True, slots=True)
class Fit:
    """A model, and the part of the run (`generation`) that it belongs to; seconds that it took."""

    generation: int
    alarm: EnergyAlarm
    fitting_s: float


class ToolWatchNode(LoadingLifecycleNode):
    """Parameters, topics and the worker around a `ToolWatch`."""

    def __init__(self) -> None:
        super().__init__("tool_watch_node")
        self._config = declare(self, NodeConfig)
        self._model_config = declare(self, ModelConfig, "model")
        self._swing = declare(self, SwingConfig, "watch")
        fitted, swing = self._model_config, self._swing
        self._alarm_config = AlarmConfig(fitted.samples, fitted.steps, fitted.lr, swing.sigmas)
        self._watch = ToolWatch(
            WatchConfig(swing.period_s, swing.max_gap_s, swing.calm_s, swing.trusted_s, swing.least_swing)
        )
        self._cadence = Cadence(self._config.rate_hz or None)
        self._net: HamiltonianNet | None = None
        self._generation = 0
        self._counts = {"fitted": 0, "outdated": 0, "refused": 0, "breaks": 0}
        self._refusal, self._refused_at, self._received_at = "", 0.0, 0.0
        self._most = 0.0
        self._fitting = Latencies()
        topic = get_drivers(self._config.robot).joint_states
        self._drift = self.create_lifecycle_publisher(DiagnosticArray, "~/energy_drift", STATUS)
        self._joints = self.create_subscription(JointState, topic, self._on_joints, joint_state_in("realtime"))
        self.start(self._config.robot, self._model_config.load_limit_s, self._config.autostart)

    def load(self) -> HamiltonianNet:
        """Load the network and warm it up."""
        config = self._model_config
        torch.set_num_threads(config.threads)  # of this thread, the worker's
        if not self._config.joint:
            raise ValueError("joint: expected the name of the joint that the tool swings in, found none")
        if not config.path:
            raise ValueError("model.path: expected the directory of a Hamiltonian network, found none")
        net = load_model(Path(config.path))
        if not isinstance(net, HamiltonianNet):
            raise ValueError(f"model.path: expected a Hamiltonian network, found {type(net).__name__}")
        blank = np.sin(np.arange(config.samples) * self._swing.period_s)[:, None]
        EnergyAlarm(net, JointWindow(self._swing.period_s, blank, blank), AlarmConfig(steps=WARM_UP_STEPS))
        return net

    def loaded(self, result: HamiltonianNet) -> None:
        """Take the network."""
        self._net = result

    def unloaded(self) -> None:
        """Let go of the network."""
        self._net = None
        self._watch.clear()

    def activated(self) -> None:
        """Forget the tool that was held."""
        self._watch.clear()
        self._cadence.reset()
        self._generation += 1
        self._refusal, self._most = "", 0.0
        self._received_at = self._steady_s()

    def work_done(self, value: Fit) -> None:
        """Take a model, unless stamps have jumped since."""
        if not self.active or value.generation != self._generation:
            self._counts["outdated"] += 1
            return
        self._watch.fitted(value.alarm)
        self._counts["fitted"] += 1
        self._fitting.add(value.fitting_s)

    def concerns(self) -> Mapping[str, Callable[[], Health]]:
        """Inputs, model and tool."""
        return {"inputs": self._inputs_health, "model": self._model_health, "tool": self._tool_health}

    def _on_joints(self, message: JointState) -> None:
        if not self.active or self._config.joint not in message.name:
            return
        self._received_at, stamp = self._steady_s(), seconds(message.header.stamp)
        try:
            self._watch.add(stamp, *told_joints(message, [self._config.joint]))
        except ReadingBreakError as error:
            self._counts["breaks"] += 1
            self._generation += 1
            self._most = 0.0
            self._cadence.reset()
            self._refuse(str(error))
            return
        except ValueError as error:
            self._counts["refused"] += 1
            self._refuse(str(error))
            return
        if self._cadence.due(stamp):
            self._cadence.use(stamp)
            self._tell(stamp)

    def _tell(self, stamp: float) -> None:
        calm = self._watch.due()
        if calm is not None:
            self.worker.submit(partial(self._fit, self._net, calm, self._generation))
        self._most = self._watch.judge() or self._most
        figures = {
            "learned": float(self._watch.learned),
            "sigmas": self._most,
            "limit": self._swing.sigmas,
            "alarm": float(self._watch.alarm_stamp is not None),
        }
        self._drift.publish(figures_message(stamp, self._config.joint, figures))

    def _refuse(self, reason: str) -> None:
        self._refusal, self._refused_at = reason, self._received_at
        self.get_logger().error(f"{self._config.joint}: {reason}", throttle_duration_sec=LOG_PERIOD_S)

    def _fit(self, net: HamiltonianNet, calm: JointWindow, generation: int) -> Fit:
        """Run in the worker."""
        begun_at = self._steady_s()
        alarm = EnergyAlarm(net, calm, self._alarm_config)
        return Fit(generation, alarm, self._steady_s() - begun_at)

    def _inputs_health(self) -> Health:
        if not self.active:
            return Health(Level.OK, "not listening before the node is active")
        now, config = self._steady_s(), self._config
        if now - self._received_at > config.max_age_s:
            return Health(Level.ERROR, f"joint {config.joint!r} has not come for {config.max_age_s:g} s")
        if self._refusal and now - self._refused_at < REFUSED_FOR_S:
            return Health(Level.ERROR, self._refusal)
        return Health(Level.OK, "readings come")

    def _model_health(self) -> Health:
        return Health(Level.OK, "loaded" if self._net is not None else "not loaded", self._model_values)

    def _model_values(self) -> Mapping[str, object]:
        return {"path": self._model_config.path, **self._counts, **self._fitting.values("fitting")}

    def _tool_health(self) -> Health:
        watch = self._watch
        if watch.alarm_stamp is not None:
            since = f"{watch.alarm_stamp:.2f} s"
            return Health(
                Level.WARN,
                f"the tool was hit, or slipped: its energy changed at {since}; activate the node again to go on",
                self._tool_values,
            )
        if watch.learned:
            return Health(Level.OK, "swings freely", self._tool_values)
        if self.active and watch.readings and 0 < watch.swing < self._swing.least_swing:
            return Health(Level.WARN, "hangs still: let it swing, or nothing can be told", self._tool_values)
        return Health(Level.OK, "not known yet how it swings", self._tool_values)

    def _tool_values(self) -> Mapping[str, object]:
        return {
            "joint": self._config.joint,
            "readings": self._watch.readings,
            "swing": f"{self._watch.swing:.4f}",
            "sigmas": f"{self._most:.2f}",
            "limit": self._swing.sigmas,
        }

    def _steady_s(self) -> float:
        return self.steady_clock.now().nanoseconds * 1e-9


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node(ToolWatchNode, args)


if __name__ == "__main__":
    sys.exit(main())
