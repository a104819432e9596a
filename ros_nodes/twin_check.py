"""Run the twin for minutes and judge what was executed: `python -m ros_nodes.twin_check --minutes 10 --control-hz 25`.

Starts simulator, gateway and policy in realtime (`twin_run`). Tells the trips of the watchdogs, the jitter of the
commands, how much of the robot's limits the signal took that the simulator's controllers followed, and how far it
jumped where one command replaced another.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import numpy as np
import tyro

from policies.machine import describe_machine, library_versions
from representation.data.atomic_files import write_json
from ros_nodes.graph_client import GraphError
from ros_nodes.started_graph import measured
from ros_nodes.twin_run import TwinOptions, TwinRun, run_twin
from sim.motion_trace import SAMPLE_S, LimitUse, limit_use, moving_steps, row_steps, seam_jumps

LARGEST_JUMP = 1.2  # median steps, where one command replaces another
# Of the wanted time between two commands. Asked for every row, a policy has two pictures for each: an answer that
# misses its picture comes so much later, with the next; beyond that a whole answer was left out.
LARGEST_JITTER = 0.5
UNSEEN_TOLERANCE = 0.05  # s, for the ends of the stretches
POSITION_TOLERANCE = 1e-6  # rad (m), for rounding


@dataclass(frozen=True, slots=True)
class CheckOptions(TwinOptions):
    """What is run, and where the result goes.

    Attributes:
        output: JSON file for the result; empty for none.
    """

    output: str = ""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was found.

    Attributes:
        duration_s: seconds that were judged.
        unseen_s: seconds of them that the simulator skipped, because it could not keep up, or did not tell of.
        moving_share: share of the samples in which the arm moved.
        episodes: that the policy drove; 0 for a known motion.
        successes: of them.
        commands: trajectories that the gateway sent.
        watchdog_trips: holds of the gateway because commands or joint states stayed away.
        wanted_interval_ms: wanted time between two commands, milliseconds.
        interval_ms: median of what it was.
        jitter_p99_ms: 99th percentile of the difference from that median.
        delay_p99_ms: 99th percentile of the time from a command's sending until the controllers followed it.
        delay_max_ms: the longest.
        use: share of the limits that the executed signal took; what is outside of the position limits, rad (m).
        seam_jump: 1 and the largest jump where a command replaces another, in median steps of a moving arm.
        row_step: largest step of a row's time from where a command replaces another, over the largest of the step
            before it, the step after it and the median row's step of a moving arm. It is told and not judged: a policy
            that is asked for every row decides all of them there.
    """

    duration_s: float
    unseen_s: float
    moving_share: float
    episodes: int
    successes: int
    commands: int
    watchdog_trips: int
    wanted_interval_ms: float
    interval_ms: float
    jitter_p99_ms: float
    delay_p99_ms: float
    delay_max_ms: float
    use: LimitUse
    seam_jump: float
    row_step: float

    @property
    def jitter_limit_ms(self) -> float:
        """What the jitter may be."""
        return LARGEST_JITTER * self.wanted_interval_ms

    def objections(self) -> list[str]:
        """What is not as it must be, in words; empty if the check passes."""
        found = []
        if self.unseen_s > UNSEEN_TOLERANCE:
            found.append(f"the simulator could not keep up for {self.unseen_s:.2f} s: take a machine that is less busy")
        if self.watchdog_trips:
            found.append(f"watchdog trips: expected 0, found {self.watchdog_trips}")
        if self.jitter_p99_ms > self.jitter_limit_ms:
            found.append(f"jitter p99: expected at most {self.jitter_limit_ms:g} ms, found {self.jitter_p99_ms:.1f} ms")
        if self.use.position > POSITION_TOLERANCE:
            found.append(f"position: {self.use.position:.2g} rad (m) beyond the limits")
        for what in ("velocity", "acceleration", "jerk"):
            if getattr(self.use, what) > 1:
                found.append(f"{what}: {getattr(self.use, what):.2f} of the limit")
        if self.seam_jump > LARGEST_JUMP:
            found.append(f"jump between commands: expected at most {LARGEST_JUMP}, found {self.seam_jump:.2f}")
        return found


def judge(run: TwinRun) -> CheckReport:
    """Judge what a run gave.

    Raises:
        GraphError: too few commands came, or the arm never moved.
    """
    stretches, joints = run.stretches, run.robot.arm_joints
    duration_s = sum(stretch.end - stretch.begin for stretch in stretches)
    commands = sum(len(stretch.sent) for stretch in stretches)
    intervals = np.concatenate([np.diff(stretch.sent) for stretch in stretches])
    steps = np.concatenate([moving_steps(stretch.trace, joints) for stretch in stretches])
    delays = np.concatenate([stretch.delays() for stretch in stretches])
    if not len(intervals) or not len(steps) or not len(delays):
        raise GraphError(f"expected commands that move the arm, found {commands} in {duration_s:.0f} s")
    samples = sum(len(stretch.trace.times) for stretch in stretches)
    jumps = np.concatenate([seam_jumps(stretch.trace, stretch.taken, joints) for stretch in stretches])
    rows = np.vstack([row_steps(stretch.trace, stretch.taken, run.row_s, joints) for stretch in stretches])
    beside = np.maximum(rows[:, [0, 2]].max(axis=1), np.median(steps) * run.row_s / SAMPLE_S)
    uses = [astuple(limit_use(stretch.trace, run.robot)) for stretch in stretches if len(stretch.trace.times) > 2]
    middle = float(np.median(intervals))
    ended = [stretch.success for stretch in stretches if stretch.success is not None]
    return CheckReport(
        duration_s=duration_s,
        unseen_s=max(0.0, duration_s - SAMPLE_S * samples),
        moving_share=len(steps) / samples,
        episodes=len(ended),
        successes=sum(ended),
        commands=commands,
        watchdog_trips=sum(stretch.watchdog_trips for stretch in stretches),
        wanted_interval_ms=1e3 * run.query_steps * run.row_s,
        interval_ms=1e3 * middle,
        jitter_p99_ms=1e3 * float(np.percentile(np.abs(intervals - middle), 99)),
        delay_p99_ms=1e3 * float(np.percentile(delays, 99)),
        delay_max_ms=1e3 * float(delays.max()),
        use=LimitUse(*np.max(uses, axis=0).tolist()),
        seam_jump=1 + float(jumps.max() / np.median(steps)),
        row_step=float(np.max(rows[:, 1] / beside, initial=0.0)),
    )


def format_report(options: TwinOptions, report: CheckReport) -> str:
    """Render a report for people."""
    use = report.use
    what = options.policy or f"a known motion at {options.control_hz:g} Hz"
    driven = f", {report.successes} of {report.episodes} episodes achieved" if report.episodes else ""
    objections = report.objections()
    return "\n".join(
        [
            f"{what}, {report.duration_s:.0f} s, {report.commands} commands{driven}",
            f"the arm moved {100 * report.moving_share:.0f} % of the time; not seen: {report.unseen_s:.2f} s",
            f"watchdog trips: {report.watchdog_trips}",
            f"commands every {report.interval_ms:.1f} ms, jitter p99 {report.jitter_p99_ms:.1f} ms, at most "
            f"{report.jitter_limit_ms:g} ms",
            f"followed after {report.delay_p99_ms:.1f} ms (p99), {report.delay_max_ms:.1f} ms (longest)",
            f"of the limits: velocity {use.velocity:.2f}, acceleration {use.acceleration:.2f}, jerk {use.jerk:.2f}; "
            f"outside the positions: {max(0.0, use.position):.4f} rad (m)",
            f"largest jump between commands: {report.seam_jump:.2f} median steps, at most {LARGEST_JUMP}",
            f"largest step of a row's time after a command: {report.row_step:.2f} of those beside it or of the median",
            f"FAIL: {'; '.join(objections)}" if objections else "pass",
        ]
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        Exit code: 0 if the check passed, 1 if not, 2 for a wrong argument.
    """
    words = list(sys.argv[1:] if args is None else args)
    try:
        options = tyro.cli(CheckOptions, args=words, prog="python -m ros_nodes.twin_check")
        report = measured(lambda chosen: judge(run_twin(chosen)), options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if report is None:
        return 1
    if options.output:
        told = {"command": " ".join(["python -m ros_nodes.twin_check", *words]), "objections": report.objections()}
        about = {"machine": describe_machine(), "libraries": library_versions()}
        write_json(Path(options.output), told | {"report": asdict(report)} | about)
    print(format_report(options, report))
    return 1 if report.objections() else 0


if __name__ == "__main__":
    sys.exit(main())
