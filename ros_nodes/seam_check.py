"""Run the twin with a slow policy and count what its slowness costs: `python -m ros_nodes.seam_check`.

Starts simulator, gateway and policy in realtime, anew for each method and seed, with a policy whose answers take at
least 200 ms: `sync` waits for each chunk, `replace` goes over to the next one when it is there, `rtc` makes it go on
with the running one. Tells the control steps without motion, and the steps of the executed signal where commands
replace others.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import tyro
from lifecycle_msgs.msg import Transition
from numpy.typing import ArrayLike
from rclpy.signals import SignalHandlerOptions

from policies.machine import describe_machine
from policies.robots import get_robot
from policies.robots.spec import RobotSpec
from representation.data.atomic_files import write_json
from ros_nodes.domains import own_domain
from ros_nodes.fault_graph import GATEWAY, GATEWAY_HEALTH, LIFE_CYCLE, POLICY, SIMULATOR
from ros_nodes.fault_probe import FaultProbe
from ros_nodes.graph_client import GraphError
from ros_nodes.graph_processes import GraphProcesses
from ros_nodes.started_graph import measured
from sim.motion_trace import SentCommand, executed
from sim.tasks import named_tasks, robot_of

START_LIMIT_S = 360.0
SERVICE_LIMIT_S = 60.0
WARM_UP_S = 5.0
SEAM_STEPS = 2  # control steps that count to a seam
# Who waits sends nothing for as long as a chunk and an answer last.
COMMAND_TIMEOUT_S = 5.0
CATCH_UP_S = 0.3
RTC = "real_time_chunking"
METHODS: dict[str, dict[str, Any]] = {
    "sync": {"execution.queue_share": 0.0},
    "replace": {"execution.query_steps": 1},
    "rtc": {"execution.query_steps": 1, "execution.scheduler.mode": RTC},
}


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What is run.

    Attributes:
        policy: name of a shipped policy, a directory or a hub id; one that goes on with its chunks.
        task: what it does.
        duration_s: how long each method is judged.
        latency_s: how long an answer takes at least, seconds.
        seeds: runs of each method; episodes and noise differ.
        size: width and height of the images, pixels.
        output: JSON file for the result; empty for none.
        log: file for what the nodes print; empty for none.
    """

    policy: str = "rdt_small"
    task: str = "transfer_cube"
    duration_s: float = 60.0
    latency_s: float = 0.2
    seeds: int = 3
    size: int = 96
    output: str = ""
    log: str = ""


@dataclass(frozen=True, slots=True)
class SeamReport:
    """What was found; steps are those of the arms in a control step, over the median step of a moving arm.

    They are nan where the arm never moved: the machine is too slow, and the gateway refuses what has ended.

    Attributes:
        commands: trajectories that the controllers got.
        ticks: control steps that were judged.
        missed: of these, steps at whose beginning the arm was led nowhere: every trajectory had ended.
        seam_jump: largest step where a command has just replaced another.
        seam_p95: 95th percentile of the largest step of each seam.
        seam_ratio: the largest step of a seam over the largest of the step before it, the step after it and the median:
            1 and less where the motion only goes on, however its speed changes.
        ratio_p95: 95th percentile of the same of each seam.
        other_step: largest step elsewhere.
    """

    commands: int
    ticks: int
    missed: int
    seam_jump: float
    seam_p95: float
    seam_ratio: float
    ratio_p95: float
    other_step: float


def judge(
    commands: Sequence[SentCommand], start: ArrayLike, spec: RobotSpec, period: float, begin: float, end: float
) -> SeamReport:
    """Judge what was sent from `begin` to `end`, seconds, in control steps of a period.

    Raises:
        GraphError: too few commands came.
    """
    sent = [command for command in commands if begin <= command.at < end]
    if len(sent) < 2:
        raise GraphError(f"expected commands, found {len(sent)} in {end - begin:.0f} s")
    trace = executed(commands, start, spec, begin, end)
    times = np.arange(begin, trace.times[-1], period)
    positions = trace.positions[np.searchsorted(trace.times, times)][:, spec.arm_joints]
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    steps /= np.median(steps[steps > 0]) if steps.any() else np.nan
    starts = [int((command.at - begin) / period) for command in sent]
    seams = [slice(first, first + SEAM_STEPS) for first in starts if first < len(steps)]
    elsewhere = np.ones(len(steps), dtype=bool)
    for seam in seams:
        elsewhere[seam] = False
    jumps = [steps[seam].max() for seam in seams]
    whole = [seam for seam in seams if seam.start > 0 and seam.stop < len(steps)]
    ratios = [steps[seam].max() / max(steps[seam.start - 1], steps[seam.stop], 1.0) for seam in whole]
    return SeamReport(
        commands=len(sent),
        ticks=len(times),
        missed=sum(not _leads(commands, now) for now in times),
        seam_jump=float(np.max(jumps)),
        seam_p95=float(np.percentile(jumps, 95)),
        seam_ratio=float(np.max(ratios, initial=0.0)),
        ratio_p95=float(np.percentile(ratios or [0.0], 95)),
        other_step=float(steps[elsewhere].max(initial=0.0)),
    )


def _leads(commands: Sequence[SentCommand], now: float) -> bool:
    """Whether the newest command has not ended."""
    newest = [command.trajectory for command in commands if command.at <= now][-1:]
    return bool(newest) and newest[0] is not None and now < newest[0].end


def measure(options: CheckOptions) -> dict[str, list[SeamReport]]:
    """Run every method with every seed; reports by method.

    Raises:
        GraphError: a node failed, or a limit passed.
    """
    reports: dict[str, list[SeamReport]] = {method: [] for method in METHODS}
    for seed in range(options.seeds):
        for method, found in reports.items():
            found.append(_measured_once(options, method, seed))
            print(f"{method}, seed {seed}: {found[-1]}", file=sys.stderr)
    return reports


def _measured_once(options: CheckOptions, method: str, seed: int) -> SeamReport:
    robot = robot_of(named_tasks(options.task))
    with own_domain(), open(options.log or os.devnull, "a") as log:
        processes = GraphProcesses(log)
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        probe = FaultProbe(robot, lambda: False)
        try:
            return _conduct(options, method, seed, robot, processes, probe)
        finally:
            processes.stop_all()
            probe.end()
            rclpy.try_shutdown()


def _conduct(
    options: CheckOptions, method: str, seed: int, robot: str, processes: GraphProcesses, probe: FaultProbe
) -> SeamReport:
    spec = get_robot(robot)
    simulator = {"mode": "realtime", "autostart": True, "robot": robot, "camera_rate_hz": spec.control_hz}
    simulator |= {"simulation.width": options.size, "simulation.height": options.size}
    simulator |= {"episode.task": options.task, "episode.index": 0, "episode.seed": seed}
    gateway = {"robot": robot, "gateway.command_timeout_s": COMMAND_TIMEOUT_S, "gateway.catch_up_s": CATCH_UP_S}
    policy = {"mode": "realtime", "robot": robot, "policy.checkpoint": options.policy, "episode.seed": seed}
    policy |= {"least_inference_s": options.latency_s} | METHODS[method]
    for name, module, parameters, concern in (
        (SIMULATOR, SIMULATOR, simulator, f"{SIMULATOR}: simulation"),
        (GATEWAY, GATEWAY, gateway, GATEWAY_HEALTH),
        (POLICY, "faulty_policy_node", policy, LIFE_CYCLE),
    ):
        processes.start_node(name, module, parameters)
        probe.wait_until(
            lambda concern=concern: probe.newest(concern) is not None, START_LIMIT_S, f"diagnostics '{concern}'"
        )
    probe.change_state_of(POLICY, Transition.TRANSITION_CONFIGURE, "load its policy", START_LIMIT_S)
    probe.change_state_of(POLICY, Transition.TRANSITION_ACTIVATE, "become active", SERVICE_LIMIT_S)
    probe.wait_until(lambda: bool(probe.commands), START_LIMIT_S, "a command")
    probe.listen(WARM_UP_S)
    begin = time.time()
    probe.listen(options.duration_s)
    end = time.time()
    before = probe.trace(0.0, begin)
    if not len(before.times):
        raise GraphError("expected true joint states of the simulator, found none")
    return judge(probe.commands, before.positions[0], spec, 1 / spec.control_hz, begin, end)


def format_report(options: CheckOptions, reports: dict[str, list[SeamReport]]) -> str:
    """Render reports for people."""
    machine = describe_machine()
    lines = [
        f"{options.policy} on {options.task}, {options.duration_s:g} s each, answers take at least "
        f"{1e3 * options.latency_s:g} ms",
        f"{'method':<9}{'seed':>5}{'commands':>10}{'ticks':>7}{'missed':>8}{'seam jump':>11}{'seam p95':>10}"
        f"{'seam ratio':>12}{'ratio p95':>11}{'other steps':>13}",
    ]
    for method, found in reports.items():
        for seed, report in enumerate(found):
            lines.append(
                f"{method:<9}{seed:>5}{report.commands:>10}{report.ticks:>7}{report.missed:>8}"
                f"{report.seam_jump:>11.2f}{report.seam_p95:>10.2f}{report.seam_ratio:>12.2f}{report.ratio_p95:>11.2f}"
                f"{report.other_step:>13.2f}"
            )
    lines.append(f"{machine['cpu']}, {machine['cores']} cores")
    return "\n".join(lines)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        Exit code: 0 if it was measured, 1 otherwise.
    """
    options = tyro.cli(CheckOptions, args=args, prog="python -m ros_nodes.seam_check")
    reports = measured(measure, options)
    if reports is None:
        return 1
    if options.output:
        result = {method: [asdict(report) for report in found] for method, found in reports.items()}
        write_json(Path(options.output), asdict(options) | {"machine": describe_machine(), "results": result})
    print(format_report(options, reports))
    return 0


if __name__ == "__main__":
    sys.exit(main())
