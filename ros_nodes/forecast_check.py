"""Measure forecasts by what came later: `python -m ros_nodes.forecast_check --model RUN --tracks FILE`.

Starts `track_player_node` and `forecast_node` and listens for a while. Prints how far off the published forecasts were,
beside agents that go on as they last did, and the time from a place's stamp to its forecast.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import tyro
from lifecycle_msgs.msg import Transition
from std_msgs.msg import Float32MultiArray
from visualization_msgs.msg import MarkerArray

from policies.execution.separation import Futures
from representation.dynamics.gcrl.track_record import TrackRecord
from ros_nodes.diagnostics import percentiles_ms
from ros_nodes.forecast_messages import TOPIC, futures_from_message, places
from ros_nodes.graph_client import GraphClient, GraphError
from ros_nodes.graphs import FORECAST
from ros_nodes.qos import STATUS
from ros_nodes.started_graph import measured, started_graph

NODE = "forecast_node"
FRAME = "world"
START_LIMIT_S = 240.0
SERVICE_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class ForecastOptions:
    """What is measured.

    Attributes:
        model: directory of a model of gcrl.
        tracks: file of tracks that is played.
        first_scene: number of the scene to begin with; scenes that the model has seen tell nothing.
        duration_s: seconds that are counted.
        samples: futures of each forecast.
        least_steps: a forecast counts where so many of its steps were tracked later.
        json: print JSON instead of text.
    """

    model: str
    tracks: str
    first_scene: int = 0
    duration_s: float = 120.0
    samples: int = 20
    least_steps: int = 6
    json: bool = False


@dataclass(frozen=True, slots=True)
class ForecastReport:
    """What was measured; errors are means over forecasts, metres.

    Attributes:
        forecasts: how many were published.
        counted: of these, forecasts whose agents were tracked long enough.
        best: error of the best sample.
        single: error of a single sample.
        constant: error of agents that go on as they last did.
        better: share of the counted forecasts whose best sample is nearer than those.
        stamp_to_forecast_ms: [p50, p95, p99].
    """

    forecasts: int
    counted: int
    best: float
    single: float
    constant: float
    better: float
    stamp_to_forecast_ms: list[float]


class ForecastProbe(GraphClient):
    """Keeps places and forecasts."""

    def __init__(self, stop_requested: Callable[[], bool]) -> None:
        super().__init__("forecast_check", stop_requested)
        self.record = TrackRecord()
        self.forecasts: list[Futures] = []
        self.ages: list[float] = []
        self._subscriptions_kept = [
            self.create_subscription(MarkerArray, TOPIC, self._on_places, STATUS),
            self.create_subscription(Float32MultiArray, f"{NODE}/forecast", self._on_forecast, STATUS),
        ]

    def _on_places(self, message: MarkerArray) -> None:
        tracked = places(message, FRAME)
        if tracked is not None:
            self.record.add(*tracked)

    def _on_forecast(self, message: Float32MultiArray) -> None:
        futures = futures_from_message(message, FRAME)
        self.ages.append(time.time() - futures.stamp)
        self.forecasts.append(futures)


def measure(options: ForecastOptions) -> ForecastReport:
    """Start the graph, measure, and stop it.

    Raises:
        GraphError: a node failed, a limit passed, or no forecast could be counted.
    """
    given = {"model": options.model, "tracks": options.tracks, "twin": "true", "frame": FRAME, "autostart": "false"}
    values = FORECAST.resolve(given)
    commands = [(node.executable, node.command(values, FORECAST.arguments)) for node in FORECAST.started(values)]
    words = dict(commands)
    words[NODE] += ["-p", f"model.samples:={options.samples}"]
    words["track_player_node"] += ["-p", f"first_scene:={options.first_scene}"]
    with started_graph(commands) as node_ended:
        probe = ForecastProbe(node_ended)
        try:
            probe.change_state_of(NODE, Transition.TRANSITION_CONFIGURE, "load its model", START_LIMIT_S)
            probe.change_state_of(NODE, Transition.TRANSITION_ACTIVATE, "become active", SERVICE_LIMIT_S)
            probe.listen(options.duration_s)
        finally:
            probe.end()
    found = [
        probe.record.errors(one.samples, one.agents, one.stamp, one.period_s, options.least_steps)
        for one in probe.forecasts
    ]
    counted = [errors for errors in found if errors is not None]
    if not counted:
        raise GraphError(f"expected forecasts that can be counted, found none of {len(found)}")
    best, single, constant = np.array([[one.best, one.single, one.constant] for one in counted]).T
    return ForecastReport(
        forecasts=len(found),
        counted=len(counted),
        best=float(best.mean()),
        single=float(single.mean()),
        constant=float(constant.mean()),
        better=float((best < constant).mean()),
        stamp_to_forecast_ms=percentiles_ms(probe.ages),
    )


def format_report(options: ForecastOptions, report: ForecastReport) -> str:
    """Render a report for people."""
    p50, p95, p99 = report.stamp_to_forecast_ms
    return "\n".join(
        [
            f"{report.forecasts} forecasts of {options.samples} samples in {options.duration_s:g} s; "
            f"{report.counted} could be counted",
            f"{'error in m':<36}{'mean':>8}",
            f"{'the best sample':<36}{report.best:>8.3f}",
            f"{'a single sample':<36}{report.single:>8.3f}",
            f"{'agents that go on as they last did':<36}{report.constant:>8.3f}",
            f"the best sample was nearer in {100 * report.better:.0f} % of them",
            f"stamp to forecast: {p50:.1f} ms (p50), {p95:.1f} ms (p95), {p99:.1f} ms (p99)",
        ]
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = tyro.cli(ForecastOptions, args=args, prog="python -m ros_nodes.forecast_check")
    report = measured(measure, options)
    if report is None:
        return 1
    print(json.dumps(asdict(report)) if options.json else format_report(options, report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
