"""Break the graph in every known way and see what the arm does: `python -m ros_nodes.fault_matrix`.

Starts the twin, the gateway and a policy whose motion is known, and for each fault and phase: brings the arm into the
phase, injects the fault, waits for what must follow, mends it, and waits until the arm does again what it did.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import rclpy
import tyro
from rclpy.signals import SignalHandlerOptions

from policies.machine import describe_machine, library_versions
from ros_nodes.domains import own_domain
from ros_nodes.fault_bench import FaultBench, Phase
from ros_nodes.fault_graph import Motion, Setup
from ros_nodes.fault_rows import Measured, Row, format_page, format_text, objections
from ros_nodes.fault_table import FAULTS, Fault
from ros_nodes.graph_client import GraphError
from ros_nodes.transport import use_shared_memory_profile

WATCHED_S = 2.0  # where nothing need happen
NAMING_LIMIT_S = 15.0


@dataclass(frozen=True, slots=True)
class Arguments:
    """Try faults on the twin.

    Attributes:
        faults: names of the faults, separated by commas; `all` for all of them.
        phases: idle, moving and grasping, or some of them, separated by commas.
        output: Markdown page to write; empty for none.
        json: print JSON instead of a table.
        log: file for what the nodes print; empty for none.
        patience: factor on the time limits of the nodes, and on the time to rest; 1 is what is shipped, a machine that
            is busy otherwise needs more.
    """

    faults: str = "all"
    phases: str = "idle,moving,grasping"
    output: str = ""
    json: bool = False
    log: str = ""
    patience: float = 1.0

    def chosen_faults(self) -> list[str]:
        """Names of the faults.

        Raises:
            ValueError: an unknown one.
        """
        return list(FAULTS) if self.faults == "all" else _chosen("faults", self.faults, list(FAULTS))

    def chosen_phases(self) -> list[Phase]:
        """The phases.

        Raises:
            ValueError: an unknown one.
        """
        return _chosen("phases", self.phases, list(get_args(Phase)))


def _chosen(what: str, text: str, known: Sequence) -> list:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise ValueError(f"{what}: expected some of {', '.join(known)}, found {name!r}")
    return names


def in_order(faults: Sequence[str], phase: Phase) -> list[str]:
    """The faults that can be told in a phase, so that the graph is changed rarely."""
    if phase != "idle":
        return list(faults)
    tried = [name for name in faults if not FAULTS[name].never_idle]
    return sorted(tried, key=lambda name: (FAULTS[name].sim_time, FAULTS[name].served, FAULTS[name].shadow))


def try_fault(bench: FaultBench, name: str, phase: Phase, patience: float) -> Row:
    """Bring the graph into a phase, break it, and mend it."""
    fault = FAULTS[name]
    try:
        motion: Motion = "carry" if phase == "grasping" else "round"
        bench.set_up(Setup(motion, fault.sim_time, fault.served, phase == "idle" and fault.shadow))
        fault.prepare(bench)
        bench.enter(phase)
    except (GraphError, OSError) as error:
        measured = Measured(None, 0.0, None, None, f"before the fault: {error}")
    else:
        measured = _break_and_mend(bench, fault, phase, patience)
    objected = tuple(objections(fault, phase, measured, patience))
    row = Row(name, phase, fault.outcome, measured, objected, phase == "idle" and fault.shadow)
    if measured.failure:
        bench.restart()  # who knows what is still broken
    bench.probe.forget()
    return row


def _break_and_mend(bench: FaultBench, fault: Fault, phase: Phase, patience: float) -> Measured:
    begin = time.time()
    failure = ""
    try:
        fault.inject(bench)
        if phase != "idle" and fault.outcome == "holds":
            _wait(bench, lambda: bench.rest_since(begin) is not None, 2 * patience * fault.limit_s)
        else:
            bench.probe.listen(WATCHED_S)
        wanted = fault.wanted(phase)
        if wanted:
            _wait(bench, lambda: bench.probe.named(wanted, begin) is not None, patience * NAMING_LIMIT_S)
        named = bench.probe.named(wanted, begin)
    except (GraphError, OSError) as error:
        failure, named = f"while it was broken: {error}", None
    rest_s, end = bench.rest_since(begin), time.time()
    use = bench.probe.limit_use(begin, end)
    way_rad = bench.probe.trace(begin, end if rest_s is None else begin + rest_s).way(bench.probe.spec.arm_joints)
    try:
        fault.mend(bench)
        bench.resume(phase)
    except (GraphError, OSError) as error:
        failure = "; ".join(filter(None, [failure, f"after it was mended: {error}"]))
    return Measured(rest_s, way_rad, use, named, failure)


def _wait(bench: FaultBench, condition: Callable[[], bool], limit_s: float) -> None:
    """Wait until the condition holds, or the limit has passed: the row then tells what is missing."""
    limit = time.monotonic() + limit_s
    bench.probe.wait_until(lambda: condition() or time.monotonic() > limit, 2 * limit_s + 60.0, "time to pass")


def run(arguments: Arguments) -> list[Row]:
    """Try the chosen faults in the chosen phases, each phase as a whole.

    Raises:
        ValueError: an unknown fault or phase, or a patience that is none.
    """
    faults, phases = arguments.chosen_faults(), arguments.chosen_phases()
    if not arguments.patience > 0:
        raise ValueError(f"patience: expected > 0, found {arguments.patience}")
    rows = []
    with own_domain(), open(arguments.log or os.devnull, "w") as log:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        try:
            with FaultBench(log, arguments.patience) as bench:
                for phase in phases:
                    for name in in_order(faults, phase):
                        rows.append(try_fault(bench, name, phase, arguments.patience))
                        print(format_text(rows[-1:]).splitlines()[1], file=sys.stderr)
        finally:
            rclpy.try_shutdown()
    return rows


def main(args: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        Exit code: 0 if every row passes, 1 if one does not, 2 for a wrong argument.
    """
    words = list(sys.argv[1:] if args is None else args)
    arguments = tyro.cli(Arguments, args=words, prog="python -m ros_nodes.fault_matrix")
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    print(use_shared_memory_profile(), file=sys.stderr)
    try:
        rows = run(arguments)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    machine, versions = describe_machine(), library_versions()
    if arguments.output:
        command = " ".join(["python -m ros_nodes.fault_matrix", *words])
        Path(arguments.output).write_text(format_page(rows, machine, versions, command), encoding="utf-8")
    if arguments.json:
        entries = [asdict(row) | {"passed": row.passed} for row in rows]
        print(json.dumps({"machine": machine, "versions": versions, "rows": entries}, indent=2))
    else:
        print(format_text(rows))
    return 0 if all(row.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
