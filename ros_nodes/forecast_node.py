"""`forecast_node`: where a second arm and people may go next, by a model of `representation.dynamics.gcrl`.

Places come on `tracked_agents` as visualization_msgs/MarkerArray: a marker for each agent, all with one stamp and
frame. Of standard messages only markers carry, beside stamp, frame and pose, who is who (`ns` and `id`), which a
PoseArray does not, and the stack has them for its predicted paths already. Their type and look mean nothing here; an
agent that is left out, or deleted, is not there.

Places are followed by their stamps and read at the model's period. Published are all sampled futures, as lines on
`~/predicted_paths` and as numbers on `~/forecast` for planners. In each sample all agents move together. The node
holds, publishes nothing and says why in its diagnostics, where places do not come, come in another frame, are not
finite or are too many, where stamps jump, and until somebody was followed through a whole window. The concern
`environment` warns where s, what is special to a place, has moved since the node was activated. Nothing that moves the
arm depends on this node.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from std_msgs.msg import Float32MultiArray
from visualization_msgs.msg import MarkerArray

from policies.execution.cadence import Cadence
from policies.execution.separation import Futures
from policies.robots import get_robot
from representation.dynamics.gcrl.forecaster import (
    Forecast,
    Forecaster,
    ShiftAlarm,
    TrackBreakError,
    TrackWindows,
    Window,
)
from representation.dynamics.gcrl.model import GCRL
from representation.registry import load_model
from ros_nodes.diagnostics import Health, Latencies, Level
from ros_nodes.forecast_messages import TOPIC, message_from_futures, places
from ros_nodes.lifecycle_node import LoadingLifecycleNode
from ros_nodes.node_process import run_node
from ros_nodes.params import declare
from ros_nodes.path_markers import forecast_markers
from ros_nodes.qos import STATUS, TRACKS_IN

LOG_PERIOD_S = 2.0
REFUSED_FOR_S = 2.0  # that a refusal stays in the diagnostics


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What the node follows.

    Attributes:
        robot: name, or YAML file, of the robot; told in the diagnostics, and its base is the frame where none is given.
        autostart: configure and activate without being asked.
        frame: of the tracked places; that of the robot's base if empty.
        rate_hz: forecasts per second, at most, by the stamps; 0 for one of each message.
        max_gap_s: longest time between two messages, and between two places of an agent, by the stamps.
        max_agents: in a message.
        max_age_s: what has not come for this long counts as missing (steady clock).
        height: of the lines that are drawn, metres.
    """

    robot: str = "panda"
    autostart: bool = False
    frame: str = ""
    rate_hz: float = field(default=2.5, metadata={"range": (0.0, 1000.0)})
    max_gap_s: float = field(default=0.5, metadata={"range": (0.001, 60.0)})
    max_agents: int = field(default=16, metadata={"range": (1, 200)})
    max_age_s: float = field(default=1.0, metadata={"range": (0.01, 60.0)})
    height: float = field(default=0.0, metadata={"range": (-100.0, 100.0)})


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Which model, and what it tells.

    Attributes:
        path: directory of a model of gcrl.
        samples: futures of each forecast.
        seed: of the samples.
        threads: threads of torch on the CPU.
        load_limit_s: longest time to load and warm up.
    """

    path: str = ""
    samples: int = field(default=20, metadata={"range": (1, 1000)})
    seed: int = field(default=0, metadata={"range": (0, 2**31 - 1)})
    threads: int = field(default=1, metadata={"range": (1, 256)})
    load_limit_s: float = field(default=60.0, metadata={"range": (1.0, 86400.0)})


@dataclass(frozen=True, slots=True)
class AlarmConfig:
    """When the environment counts as another.

    Attributes:
        first: forecasts after activation that tell where s lies and how far it scatters.
        newest: forecasts whose mean is compared with them.
        threshold: distance of the two that warns, in deviations of the first.
    """

    first: int = field(default=50, metadata={"range": (2, 100_000)})
    newest: int = field(default=10, metadata={"range": (1, 100_000)})
    threshold: float = field(default=4.0, metadata={"range": (0.0, 1e6)})


@dataclass(frozen=True, slots=True)
class Answer:
    """A forecast, and the part of the run (`generation`) that it belongs to; seconds of the steady clock."""

    generation: int
    forecast: Forecast
    received_at: float
    foretelling_s: float


class ForecastNode(LoadingLifecycleNode):
    """Parameters, topics and the worker around a `Forecaster`."""

    def __init__(self) -> None:
        super().__init__("forecast_node")
        self._config = declare(self, NodeConfig)
        self._model_config = declare(self, ModelConfig, "model")
        self._alarm_config = declare(self, AlarmConfig, "alarm")
        self._frame = self._config.frame or get_robot(self._config.robot).base_frame
        self._cadence = Cadence(self._config.rate_hz or None)
        self._model: GCRL | None = None
        self._forecaster: Forecaster | None = None
        self._windows: TrackWindows | None = None
        self._generation = 0
        self._counts = {"answered": 0, "replaced": 0, "outdated": 0, "refused": 0, "breaks": 0}
        self._refusal, self._refused_at, self._received_at = "", 0.0, 0.0
        self._followed = ""
        self._shift: float | None = None
        self._foretelling, self._node_latency = Latencies(), Latencies()
        self._paths = self.create_lifecycle_publisher(MarkerArray, "~/predicted_paths", STATUS)
        self._forecast = self.create_lifecycle_publisher(Float32MultiArray, "~/forecast", STATUS)
        self._tracks = self.create_subscription(MarkerArray, TOPIC, self._on_tracks, TRACKS_IN)
        self.start(self._config.robot, self._model_config.load_limit_s, self._config.autostart)

    def load(self) -> GCRL:
        """Load the model and warm it up."""
        config = self._model_config
        torch.set_num_threads(config.threads)  # of this thread, the worker's
        if not config.path:
            raise ValueError("model.path: expected the directory of a model of gcrl, found none")
        model = load_model(Path(config.path))
        if not isinstance(model, GCRL):
            raise ValueError(f"model.path: expected a model of gcrl, found {type(model).__name__}")
        blank = Window(0.0, ("first", "second"), np.zeros((model.config.observed, 2, 2), np.float32))
        self._made(model).foretell(blank)
        return model

    def loaded(self, result: GCRL) -> None:
        """Take the model."""
        self._model, config = result, self._config
        sizes = result.config
        self._windows = TrackWindows(sizes.observed, sizes.period_s, config.max_gap_s, config.max_agents)

    def unloaded(self) -> None:
        """Let go of the model."""
        self._model = self._forecaster = self._windows = None

    def activated(self) -> None:
        """Forget who was followed, and where s lay."""
        self._windows.clear()
        self._cadence.reset()
        self._forecaster = self._made(self._model)
        self._generation += 1
        self._refusal, self._followed, self._shift = "", "", None
        self._received_at = self._steady_s()

    def work_done(self, value: Answer) -> None:
        """Publish a forecast, unless stamps have jumped since."""
        if not self.active or value.generation != self._generation:
            self._counts["outdated"] += 1
            return
        forecast, window = value.forecast, value.forecast.window
        height, stamp = self._config.height, window.stamp
        self._paths.publish(forecast_markers(forecast.samples, window.agents, height, self._frame, stamp))
        futures = Futures(stamp, self._model.config.period_s, window.agents, forecast.samples)
        self._forecast.publish(message_from_futures(futures, self._frame))
        self._shift = forecast.shift
        self._counts["answered"] += 1
        self._foretelling.add(value.foretelling_s)
        self._node_latency.add(self._steady_s() - value.received_at)

    def concerns(self) -> Mapping[str, Callable[[], Health]]:
        """Inputs, model and environment."""
        return {"inputs": self._inputs_health, "model": self._model_health, "environment": self._environment_health}

    def _made(self, model: GCRL) -> Forecaster:
        alarm = ShiftAlarm(self._alarm_config.first, self._alarm_config.newest)
        return Forecaster(model, self._model_config.samples, alarm, self._model_config.seed)

    def _on_tracks(self, message: MarkerArray) -> None:
        if not self.active:
            return
        self._received_at = self._steady_s()
        self._followed = ""
        try:
            tracked = places(message, self._frame)
            if tracked is None:
                return
            self._windows.add(*tracked)
        except TrackBreakError as error:
            self._counts["breaks"] += 1
            self._generation += 1
            self._cadence.reset()
            self._refuse(str(error))
            return
        except ValueError as error:
            self._counts["refused"] += 1
            self._refuse(str(error))
            return
        window = self._windows.window()
        if window is None or (self._model.config.network == "pair" and len(window.agents) != 2):
            return
        self._followed = f"{len(window.agents)} agents are foretold"
        if self._cadence.due(window.stamp) or self.worker.has_waiting:
            self._cadence.use(window.stamp)
            work = partial(self._foretell, self._forecaster, window, self._generation, self._received_at)
            self._counts["replaced"] += self.worker.submit(work)

    def _refuse(self, reason: str) -> None:
        self._refusal, self._refused_at = reason, self._received_at
        self.get_logger().error(f"{TOPIC}: {reason}", throttle_duration_sec=LOG_PERIOD_S)

    def _foretell(self, forecaster: Forecaster, window: Window, generation: int, received_at: float) -> Answer:
        """Run in the worker, the only thread that touches the forecaster."""
        begun_at = self._steady_s()
        forecast = forecaster.foretell(window)
        return Answer(generation, forecast, received_at, self._steady_s() - begun_at)

    def _inputs_health(self) -> Health:
        if self._windows is None or not self.active:
            return Health(Level.OK, "not listening before the node is active")
        now, config, sizes = self._steady_s(), self._config, self._model.config
        if now - self._received_at > config.max_age_s:
            return Health(Level.ERROR, f"holds: {TOPIC} has not come for {config.max_age_s:g} s")
        if self._refusal and now - self._refused_at < REFUSED_FOR_S:
            return Health(Level.ERROR, f"holds: {self._refusal}")
        if not self._followed:
            who = "two agents, and no third, were" if sizes.network == "pair" else "somebody was"
            window_s = (sizes.observed - 1) * sizes.period_s
            return Health(Level.WARN, f"holds until {who} followed for {window_s:g} s without a gap")
        return Health(Level.OK, self._followed)

    def _model_health(self) -> Health:
        return Health(Level.OK, "loaded" if self._model is not None else "not loaded", self._model_values)

    def _model_values(self) -> Mapping[str, object]:
        return {
            "path": self._model_config.path,
            **self._counts,
            **self._foretelling.values("foretelling"),
            **self._node_latency.values("input_to_publish"),
        }

    def _environment_health(self) -> Health:
        if self._shift is None:
            return Health(Level.OK, "not known yet where s lies")
        threshold = self._alarm_config.threshold
        values = {"shift": f"{self._shift:.2f}", "threshold": threshold}
        if self._shift > threshold:
            return Health(
                Level.WARN,
                "the environment has changed: tune the model again, or activate the node again if forecasts are right",
                lambda: values,
            )
        return Health(Level.OK, "as it was when the node was activated", lambda: values)

    def _steady_s(self) -> float:
        return self.steady_clock.now().nanoseconds * 1e-9


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node(ForecastNode, args)


if __name__ == "__main__":
    sys.exit(main())
