"""Run the twin for minutes and judge what was executed: `python -m ros_nodes.twin_check --minutes 10 --control-hz 25`.

Starts simulator, gateway and policy in realtime. Tells the trips of the watchdogs, the jitter of the commands, how much
of the robot's limits the executed signal took, and its largest step where one command replaces another.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import rclpy
import tyro
from lifecycle_msgs.msg import Transition
from rclpy.signals import SignalHandlerOptions

from policies.recorded_motion import MotionConfig
from policies.robots.spec import RobotSpec
from representation.data.atomic_files import write_json
from ros_nodes.domains import own_domain
from ros_nodes.fault_graph import CAMERAS, EPISODE, GATEWAY, GATEWAY_HEALTH, LIFE_CYCLE, POLICY, ROBOT, SIMULATOR
from ros_nodes.fault_probe import FaultProbe
from ros_nodes.graph_client import GraphError
from ros_nodes.graph_processes import GraphProcesses
from ros_nodes.started_graph import measured
from sim.known_motions import going_round
from sim.motion_trace import LimitUse, SentCommand, executed, limit_use, seam_jump
from sim.simulation import SimulationConfig, TabletopSimulation

START_LIMIT_S = 360.0
SERVICE_LIMIT_S = 60.0
WARM_UP_S = 5.0
WATCHDOG_WORDS = ("no trajectory for", "no joint state for", "by its stamp")
LARGEST_JUMP = 1.2  # median steps, where one command replaces another
CAMERA_SHARE = 2.0  # pictures per row of the policy


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What is run.

    Attributes:
        minutes: how long it is judged.
        policy: name of a shipped policy, a directory, a hub id or an address; empty for a known motion, which goes
            round about the arm's first pose.
        control_hz: rows per second of the known motion.
        size: width and height of the images, pixels.
        output: JSON file for the result; empty for none.
        log: file for what the nodes print; empty for none.
    """

    minutes: float = 10.0
    policy: str = ""
    control_hz: float = 10.0
    size: int = 64
    output: str = ""
    log: str = ""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was found.

    Attributes:
        duration_s: seconds that were judged.
        commands: trajectories that the controller got.
        watchdog_trips: holds of the gateway because commands or joint states stayed away.
        interval_ms: median time between two commands, milliseconds.
        jitter_p99_ms: 99th percentile of the difference from it.
        use: share of the limits that the executed signal took; what is outside of the position limits, rad (m).
        seam_jump: largest step where a command replaces another, over the median step.
    """

    duration_s: float
    commands: int
    watchdog_trips: int
    interval_ms: float
    jitter_p99_ms: float
    use: LimitUse
    seam_jump: float

    @property
    def passed(self) -> bool:
        """Whether no watchdog bit, no limit was exceeded, and no command jumped away from the one before."""
        use = self.use
        within = use.position <= 1e-6 and max(use.velocity, use.acceleration, use.jerk) <= 1
        return self.watchdog_trips == 0 and within and self.seam_jump <= LARGEST_JUMP


def watchdog_trips(told: Sequence[str]) -> int:
    """How often a watchdog of the gateway bit, by what it told of itself, one after the other."""
    bitten = [any(words in text for words in WATCHDOG_WORDS) for text in told]
    return sum(now and not before for before, now in pairwise([False, *bitten]))


def judge(
    commands: Sequence[SentCommand], start: np.ndarray, spec: RobotSpec, begin: float, end: float, trips: int
) -> CheckReport:
    """Judge what was sent from `begin` to `end`, seconds.

    Raises:
        GraphError: too few commands came.
    """
    sent = [command for command in commands if begin <= command.at < end]
    if len(sent) < 3:
        raise GraphError(f"expected commands, found {len(sent)} in {end - begin:.0f} s")
    trace = executed(commands, start, spec, begin, end)
    intervals = np.diff([command.at for command in sent])
    middle = float(np.median(intervals))
    return CheckReport(
        duration_s=end - begin,
        commands=len(sent),
        watchdog_trips=trips,
        interval_ms=1e3 * middle,
        jitter_p99_ms=1e3 * float(np.percentile(np.abs(intervals - middle), 99)),
        use=limit_use(trace, spec),
        seam_jump=seam_jump(trace, sent, spec.arm_joints),
    )


def measure(options: CheckOptions) -> CheckReport:
    """Start the graph, let it run, and judge it.

    Raises:
        GraphError: a node failed, or a limit passed.
    """
    with own_domain(), tempfile.TemporaryDirectory() as folder, open(options.log or os.devnull, "w") as log:
        checkpoint = options.policy or _known_motion(Path(folder), options.control_hz)
        processes = GraphProcesses(log)
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        probe = FaultProbe(ROBOT, lambda: False)
        try:
            return _conduct(options, checkpoint, processes, probe)
        finally:
            processes.stop_all()
            probe.end()
            rclpy.try_shutdown()


def _conduct(options: CheckOptions, checkpoint: str, processes: GraphProcesses, probe: FaultProbe) -> CheckReport:
    simulator = {"mode": "realtime", "autostart": True, "camera_rate_hz": CAMERA_SHARE * options.control_hz}
    simulator |= {"simulation.width": options.size, "simulation.height": options.size}
    simulator |= {f"episode.{name}": getattr(EPISODE, name) for name in ("task", "index", "seed")}
    policy = {"mode": "realtime", "policy.checkpoint": checkpoint}
    for name, parameters, concern in (
        (SIMULATOR, simulator, f"{SIMULATOR}: simulation"),
        (GATEWAY, {}, GATEWAY_HEALTH),
        (POLICY, policy, LIFE_CYCLE),
    ):
        processes.start_node(name, name, parameters)
        probe.wait_until(
            lambda concern=concern: probe.newest(concern) is not None, START_LIMIT_S, f"diagnostics '{concern}'"
        )
    probe.change_state_of(POLICY, Transition.TRANSITION_CONFIGURE, "load its policy", START_LIMIT_S)
    probe.change_state_of(POLICY, Transition.TRANSITION_ACTIVATE, "become active", SERVICE_LIMIT_S)
    probe.listen(WARM_UP_S)
    begin = time.time()
    probe.listen(60.0 * options.minutes)
    end = time.time()
    told = [entry.text for entry in probe.told if entry.at >= begin and entry.concern == GATEWAY_HEALTH]
    before = probe.trace(0.0, begin)
    if not len(before.times):
        raise GraphError("expected true joint states of the simulator, found none")
    return judge(probe.commands, before.positions[0], probe.spec, begin, end, watchdog_trips(told))


def _known_motion(folder: Path, control_hz: float) -> str:
    simulation = TabletopSimulation(SimulationConfig.of(ROBOT))
    simulation.reset(EPISODE)
    start = simulation.scene.joint_positions
    simulation.close()
    going_round(start, MotionConfig(ROBOT, CAMERAS, control_hz, 0)).save_pretrained(folder)
    return str(folder)


def format_report(options: CheckOptions, report: CheckReport) -> str:
    """Render a report for people."""
    use = report.use
    what = options.policy or f"a known motion at {options.control_hz:g} Hz"
    return "\n".join(
        [
            f"{what}, {report.duration_s:.0f} s, {report.commands} commands",
            f"watchdog trips: {report.watchdog_trips}",
            f"commands every {report.interval_ms:.1f} ms, jitter p99 {report.jitter_p99_ms:.1f} ms",
            f"of the limits: velocity {use.velocity:.2f}, acceleration {use.acceleration:.2f}, jerk {use.jerk:.2f}; "
            f"outside the positions: {max(0.0, use.position):.4f} rad (m)",
            f"largest step between commands over the median step: {report.seam_jump:.2f}, at most {LARGEST_JUMP}",
            "pass" if report.passed else "FAIL",
        ]
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        Exit code: 0 if the check passed, 1 otherwise.
    """
    options = tyro.cli(CheckOptions, args=args, prog="python -m ros_nodes.twin_check")
    report = measured(measure, options)
    if report is None:
        return 1
    if options.output:
        write_json(Path(options.output), asdict(options) | asdict(report))
    print(format_report(options, report))
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
