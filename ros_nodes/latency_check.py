"""Measure the graph on the wall clock: `python -m ros_nodes.latency_check --policy NAME`.

Starts simulator, gateway and policy in realtime and listens for a while. Prints the camera frames that were lost on
their way to the policy, and for every command the time since its observation's stamp, taken apart: taking the picture,
waiting for the model, the model, and all the rest (transport, conversion, planning, checks).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import tyro
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from sensor_msgs.msg import CameraInfo
from trajectory_msgs.msg import JointTrajectory

from ros_nodes.convert import seconds
from ros_nodes.diagnostics import figures_by_name, percentiles_ms
from ros_nodes.graph_client import GraphClient, GraphError
from ros_nodes.graphs import SIM_EVAL
from ros_nodes.qos import STATUS, sensor
from ros_nodes.started_graph import measured, started_graph
from ros_nodes.transport import PROFILE_VARIABLE

COMMAND_TOPIC = "arm_controller/joint_trajectory"
START_LIMIT_S = 360.0
SERVICE_LIMIT_S = 30.0
WARM_UP_S = 3.0
STREAMS = ("color", "depth")


@dataclass(frozen=True, slots=True)
class LatencyOptions:
    """What is measured.

    Attributes:
        policy: the name of a shipped policy, a directory, or a hub id; it must look through cameras.
        duration_s: seconds that are counted.
        task: task of the scene that the cameras see.
        width: image width in pixels.
        height: image height in pixels.
        camera_rate_hz: pictures per second of each camera.
        device: torch device of the policy.
        shared_memory: use the shared-memory transport profile; without it the middleware's default transports.
        json: print JSON instead of text.
    """

    policy: str = "spatialvla_small"
    duration_s: float = 60.0
    task: str = "reach"
    width: int = 640
    height: int = 480
    camera_rate_hz: float = 30.0
    device: str = "cpu"
    shared_memory: bool = True
    json: bool = False


@dataclass(frozen=True, slots=True)
class LatencyReport:
    """What was measured; times are [p50, p95, p99] in milliseconds.

    Attributes:
        frames_sent: colour and depth images of all of the policy's cameras.
        frames_lost: of these, images that never reached the policy's node.
        camera_hz: pictures per second of each camera that the simulator achieved.
        commands: commands that the controller got in answer to observations.
        stamp_to_command_ms: from the stamp of an observation to the arrival of the command that answers it.
        rendering_ms: part of it: taking and publishing the picture, a simulated camera's own time.
        inference_ms: part of it: the policy.
        overhead_ms: all the rest: transport, conversion, waiting, inverse kinematics, scheduling, checks.
        waiting_ms: part of the overhead: the policy was still busy with the observation before.
    """

    frames_sent: int
    frames_lost: int
    camera_hz: float
    commands: int
    stamp_to_command_ms: list[float]
    rendering_ms: list[float]
    inference_ms: list[float]
    overhead_ms: list[float]
    waiting_ms: list[float]


@dataclass(frozen=True, slots=True)
class Recording:
    """What a probe heard, in seconds, by the stamp of the observation.

    Attributes:
        published: when the first camera's calibration, which goes before its image, was published.
        answered: `inference_s` and `waiting_s` of the policy.
        commanded: when the command arrived.
    """

    published: dict[float, float]
    answered: dict[float, dict[str, float]]
    commanded: dict[float, float]


class LatencyProbe(GraphClient):
    """Listens to stamps; images themselves it leaves to the policy."""

    def __init__(self, stop_requested: Callable[[], bool]) -> None:
        super().__init__("latency_check", stop_requested)
        self.recording = Recording({}, {}, {})
        self.diagnostics: dict[str, dict[str, str]] = {}
        self._subscriptions_kept = [
            self.create_subscription(DiagnosticArray, "policy_node/timing", self._on_timing, 100),
            self.create_subscription(JointTrajectory, COMMAND_TOPIC, self._on_command, 100),
            self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, STATUS),
        ]

    def watch_camera(self, camera: str) -> None:
        """Listen for the publication of a camera's frames."""
        topic = f"camera/{camera}/color/camera_info"
        self._subscriptions_kept.append(
            self.create_subscription(CameraInfo, topic, self._on_camera_info, sensor("realtime"))
        )

    def frames(self, cameras: Sequence[str]) -> tuple[int, int]:
        """Colour and depth images that reached the policy, and that did not, as its diagnostics tell."""
        values = self.diagnostics["policy_node: inputs"]
        received, lost = (
            sum(int(values[f"{camera}/{stream} {what}"]) for camera in cameras for stream in STREAMS)
            for what in ("received", "lost")
        )
        return received, lost

    def _on_camera_info(self, message: CameraInfo, info: Mapping[str, int]) -> None:
        self.recording.published[seconds(message.header.stamp)] = info["source_timestamp"] / 1e9

    def _on_timing(self, message: DiagnosticArray) -> None:
        self.recording.answered[seconds(message.header.stamp)] = figures_by_name(message)

    def _on_command(self, message: JointTrajectory, info: Mapping[str, int]) -> None:
        self.recording.commanded.setdefault(seconds(message.header.stamp), info["received_timestamp"] / 1e9)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.diagnostics[status.name] = {entry.key: entry.value for entry in status.values}


def summarise(recording: Recording, frames_sent: int, frames_lost: int, camera_hz: float) -> LatencyReport:
    """Take the latencies apart.

    Raises:
        GraphError: no command can be traced back to its observation.
    """
    stamps = sorted(recording.commanded.keys() & recording.answered.keys() & recording.published.keys())
    if not stamps:
        raise GraphError(
            f"expected commands that answer observations, found {len(recording.commanded)} commands, "
            f"{len(recording.answered)} answers and {len(recording.published)} frames with no stamp in common"
        )
    total = np.array([recording.commanded[stamp] - stamp for stamp in stamps])
    rendering = np.array([recording.published[stamp] - stamp for stamp in stamps])
    waiting = np.array([recording.answered[stamp]["waiting_s"] for stamp in stamps])
    inference = np.array([recording.answered[stamp]["inference_s"] for stamp in stamps])
    return LatencyReport(
        frames_sent=frames_sent,
        frames_lost=frames_lost,
        camera_hz=camera_hz,
        commands=len(stamps),
        stamp_to_command_ms=percentiles_ms(total),
        rendering_ms=percentiles_ms(rendering),
        inference_ms=percentiles_ms(inference),
        overhead_ms=percentiles_ms(total - rendering - inference),
        waiting_ms=percentiles_ms(waiting),
    )


def measure(options: LatencyOptions) -> LatencyReport:
    """Start the graph, measure, and stop it.

    Raises:
        GraphError: a node failed, or a limit passed.
    """
    graph = replace(SIM_EVAL, nodes=tuple(n for n in SIM_EVAL.nodes if n.executable != SIM_EVAL.conductor))
    values = graph.resolve({"mode": "realtime", "policy": options.policy, "device": options.device})
    extra = [
        f"simulation.width:={options.width}",
        f"simulation.height:={options.height}",
        f"camera_rate_hz:={options.camera_rate_hz:.6f}",
    ]
    commands = []
    for node in graph.nodes:
        words = node.command(values, graph.arguments)
        if node.executable == "simulator_node":
            words += [word for setting in extra for word in ("-p", setting)]
        commands.append((node.executable, words))
    with started_graph(commands) as node_ended:
        probe = LatencyProbe(node_ended)
        try:
            return _conduct(probe, options)
        finally:
            probe.end()


def _conduct(probe: LatencyProbe, options: LatencyOptions) -> LatencyReport:
    probe.change_state_of("policy_node", Transition.TRANSITION_CONFIGURE, "load its policy", START_LIMIT_S)
    probe.change_state_of("policy_node", Transition.TRANSITION_ACTIVATE, "become active", SERVICE_LIMIT_S)
    probe.wait_until(
        lambda: bool(probe.diagnostics.get("policy_node: policy", {}).get("cameras")),
        SERVICE_LIMIT_S,
        f"cameras that policy {options.policy!r} looks through",
    )
    cameras = probe.diagnostics["policy_node: policy"]["cameras"].split(",")
    probe.watch_camera(cameras[0])
    chosen = {"episode.task": options.task, "episode.cameras": cameras}
    probe.set_parameters_of("simulator_node", chosen, SERVICE_LIMIT_S)
    probe.trigger("arm_gateway_node/reset", SERVICE_LIMIT_S)
    probe.trigger("simulator_node/reset", SERVICE_LIMIT_S)
    probe.listen(WARM_UP_S)
    received, lost = probe.frames(cameras)
    probe.recording = Recording({}, {}, {})
    began = time.monotonic()
    probe.listen(options.duration_s)
    elapsed = time.monotonic() - began
    received, lost = np.subtract(probe.frames(cameras), (received, lost))
    rate = (received + lost) / len(cameras) / len(STREAMS) / elapsed
    return summarise(probe.recording, int(received + lost), int(lost), float(rate))


def format_report(options: LatencyOptions, report: LatencyReport) -> str:
    """Render a report for people."""
    transport = "shared memory" if options.shared_memory else "default transports"
    lines = [
        f"{options.policy}, {options.width}x{options.height} RGB-D at {options.camera_rate_hz:g} Hz "
        f"({report.camera_hz:.1f} Hz achieved), {options.duration_s:g} s, {transport}",
        f"frames lost: {report.frames_lost} of {report.frames_sent}; commands: {report.commands}",
        f"{'milliseconds':<18}{'p50':>9}{'p95':>9}{'p99':>9}",
    ]
    for name in ("stamp_to_command", "rendering", "inference", "overhead", "waiting"):
        p50, p95, p99 = getattr(report, f"{name}_ms")
        lines.append(f"{name.replace('_', ' '):<18}{p50:>9.2f}{p95:>9.2f}{p99:>9.2f}")
    return "\n".join(lines)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = tyro.cli(LatencyOptions, args=args, prog="python -m ros_nodes.latency_check")
    if not options.shared_memory:
        os.environ[PROFILE_VARIABLE] = ""
    report = measured(measure, options)
    if report is None:
        return 1
    print(json.dumps(asdict(options) | asdict(report), indent=2) if options.json else format_report(options, report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
