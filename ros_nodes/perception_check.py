"""Measure an encoder behind a camera: `python -m ros_nodes.perception_check --encoder RUN`.

Starts a simulated RGB-D camera and `perception_node` in realtime and listens for a while. Prints the frames that were
lost on their way or not looked at, and for every embedding the time since its picture's stamp, taken apart.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import tyro
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition

from ros_nodes.convert import seconds
from ros_nodes.diagnostics import figures_by_name, percentiles_ms
from ros_nodes.graph_client import GraphClient, GraphError
from ros_nodes.graphs import PERCEPTION
from ros_nodes.qos import STATUS
from ros_nodes.started_graph import measured, started_graph

NODE = "perception_node"
START_LIMIT_S = 240.0
SERVICE_LIMIT_S = 30.0
WARM_UP_S = 3.0


@dataclass(frozen=True, slots=True)
class PerceptionOptions:
    """What is measured.

    Attributes:
        encoder: directory of an encoder, or of the run that trained it.
        duration_s: seconds that are counted.
        camera_rate_hz: pictures per second; all of them are to be looked at.
        size: width and height of the pictures, pixels.
        device: torch device of the encoder.
        json: print JSON instead of text.
    """

    encoder: str
    duration_s: float = 60.0
    camera_rate_hz: float = 10.0
    size: int = 224
    device: str = "cpu"
    json: bool = False


@dataclass(frozen=True, slots=True)
class PerceptionReport:
    """What was measured; times are [p50, p95, p99] in milliseconds.

    Attributes:
        frames_sent: pictures of the camera.
        frames_lost: of these, pictures that never reached the node.
        embeddings: how many were published.
        stamp_to_embedding_ms: from the stamp of a picture to the arrival of its embedding.
        waiting_ms: part of it: the encoder was still busy with the picture before.
        encoding_ms: part of it: the encoder.
    """

    frames_sent: int
    frames_lost: int
    embeddings: int
    stamp_to_embedding_ms: list[float]
    waiting_ms: list[float]
    encoding_ms: list[float]


class PerceptionProbe(GraphClient):
    """Listens to what the node tells of each embedding."""

    def __init__(self, stop_requested: Callable[[], bool]) -> None:
        super().__init__("perception_check", stop_requested)
        self.answers: list[tuple[float, dict[str, float]]] = []
        self.diagnostics: dict[str, dict[str, str]] = {}
        self._subscriptions_kept = [
            self.create_subscription(DiagnosticArray, f"{NODE}/timing", self._on_timing, 100),
            self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, STATUS),
        ]

    def frames(self) -> tuple[int, int]:
        """Pictures that reached the node, and that did not, as its diagnostics tell."""
        self.diagnostics.pop(f"{NODE}: inputs", None)
        self.wait_until(lambda: f"{NODE}: inputs" in self.diagnostics, SERVICE_LIMIT_S, "diagnostics of the inputs")
        values = self.diagnostics[f"{NODE}: inputs"]
        return int(values["color received"]), int(values["color lost"])

    def _on_timing(self, message: DiagnosticArray) -> None:
        self.answers.append((time.time() - seconds(message.header.stamp), figures_by_name(message)))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.diagnostics[status.name] = {entry.key: entry.value for entry in status.values}


def measure(options: PerceptionOptions) -> PerceptionReport:
    """Start the graph, measure, and stop it.

    Raises:
        GraphError: a node failed, or a limit passed.
    """
    given = {"encoder": options.encoder, "device": options.device, "twin": "true", "autostart": "false"}
    values = PERCEPTION.resolve(given)
    extra = {
        "simulator_node": [
            f"simulation.width:={options.size}",
            f"simulation.height:={options.size}",
            f"camera_rate_hz:={options.camera_rate_hz:.6f}",
        ],
        NODE: ["rate_hz:=0.0"],
    }
    commands = [
        (
            node.executable,
            node.command(values, PERCEPTION.arguments)
            + [word for setting in extra[node.executable] for word in ("-p", setting)],
        )
        for node in PERCEPTION.started(values)
    ]
    with started_graph(commands) as node_ended:
        probe = PerceptionProbe(node_ended)
        try:
            probe.change_state_of(NODE, Transition.TRANSITION_CONFIGURE, "load its encoder", START_LIMIT_S)
            probe.change_state_of(NODE, Transition.TRANSITION_ACTIVATE, "become active", SERVICE_LIMIT_S)
            probe.listen(WARM_UP_S)
            before = probe.frames()
            probe.answers.clear()
            probe.listen(options.duration_s)
            answers = list(probe.answers)
            received, lost = np.subtract(probe.frames(), before)
        finally:
            probe.end()
    if not answers:
        raise GraphError("expected embeddings, found none")
    return PerceptionReport(
        frames_sent=int(received + lost),
        frames_lost=int(lost),
        embeddings=len(answers),
        stamp_to_embedding_ms=percentiles_ms([age for age, _ in answers]),
        waiting_ms=percentiles_ms([figures["waiting_s"] for _, figures in answers]),
        encoding_ms=percentiles_ms([figures["encoding_s"] for _, figures in answers]),
    )


def format_report(options: PerceptionOptions, report: PerceptionReport) -> str:
    """Render a report for people."""
    lines = [
        f"{options.size}x{options.size} RGB-D at {options.camera_rate_hz:g} Hz, {options.duration_s:g} s",
        f"frames lost: {report.frames_lost} of {report.frames_sent}; embeddings: {report.embeddings}",
        f"{'milliseconds':<20}{'p50':>9}{'p95':>9}{'p99':>9}",
    ]
    for name in ("stamp_to_embedding", "waiting", "encoding"):
        p50, p95, p99 = getattr(report, f"{name}_ms")
        lines.append(f"{name.replace('_', ' '):<20}{p50:>9.2f}{p95:>9.2f}{p99:>9.2f}")
    return "\n".join(lines)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = tyro.cli(PerceptionOptions, args=args, prog="python -m ros_nodes.perception_check")
    report = measured(measure, options)
    if report is None:
        return 1
    print(json.dumps(asdict(report)) if options.json else format_report(options, report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
