"""Rows of the fault matrix: what was measured, whether it is as it must be, and how it is shown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ros_nodes.fault_bench import Phase
from ros_nodes.fault_graph import FOLDER_PREFIX
from ros_nodes.fault_probe import Told
from ros_nodes.fault_table import FAULTS, Fault
from sim.motion_trace import LimitUse

POSITION_TOLERANCE = 1e-6  # rad (m), for rounding


@dataclass(frozen=True, slots=True)
class Measured:
    """What happened between a fault and its end.

    Attributes:
        rest_s: from the injection to the arm's rest, seconds; None if it did not come to rest.
        way_rad: furthest way of an arm joint meanwhile, or until the end if there was no rest, rad.
        use: how much of the limits the executed signal took; None if it is not known.
        named: the diagnostic, or answer of a service, that named the cause; None if none did.
        failure: what did not work while the fault was injected, mended or recovered from; empty if all did.
    """

    rest_s: float | None
    way_rad: float
    use: LimitUse | None
    named: Told | None
    failure: str = ""


def objections(fault: Fault, phase: Phase, measured: Measured, patience: float = 1.0) -> list[str]:
    """What is not as it must be, in words; empty if the row passes.

    Args:
        fault: what was tried.
        phase: when.
        measured: what happened.
        patience: factor on the time to the rest of a moving arm.
    """
    found = [measured.failure] if measured.failure else []
    wanted = fault.wanted(phase)
    if wanted and measured.named is None:
        found.append("no diagnostic named the cause")
    if fault.outcome == "told":
        return found + _too_fast(measured.use, "velocity")
    return found + _wrong_motion(fault, phase, measured, patience)


def _wrong_motion(fault: Fault, phase: Phase, measured: Measured, patience: float) -> list[str]:
    found = []
    stays = phase == "idle" or fault.outcome == "holds"
    limit_s = 0.0 if phase == "idle" else patience * fault.limit_s
    if stays and measured.rest_s is None:
        found.append("the arm did not come to rest")
    elif stays and measured.rest_s is not None and measured.rest_s > limit_s:
        found.append(f"rest: expected within {limit_s:g} s, found after {measured.rest_s:.2f} s")
    elif not stays and measured.rest_s is not None:
        found.append(f"expected an arm that goes on, found it at rest after {measured.rest_s:.2f} s")
    return found + _beyond_position(measured.use) + _too_fast(measured.use, "velocity", "acceleration", "jerk")


def _beyond_position(use: LimitUse | None) -> list[str]:
    beyond = 0.0 if use is None else use.position
    return [f"position: {beyond:.4f} rad (m) beyond the limits"] if beyond > POSITION_TOLERANCE else []


def _too_fast(use: LimitUse | None, *rates: str) -> list[str]:
    if use is None:
        return ["the executed signal is not known"]
    return [f"{rate}: {getattr(use, rate):.2f} of the limit" for rate in rates if getattr(use, rate) > 1]


@dataclass(frozen=True, slots=True)
class Row:
    """A fault in a phase.

    Attributes:
        fault: its name.
        phase: what the arm was doing.
        outcome: what must follow.
        shadow: whether the policy was active in the phase idle, with a gateway in shadow mode.
        measured: what did.
        objections: why it does not pass; empty if it does.
    """

    fault: str
    phase: Phase
    outcome: str
    measured: Measured
    objections: tuple[str, ...]
    shadow: bool = False

    @property
    def passed(self) -> bool:
        """Whether all is as it must be."""
        return not self.objections

    def cells(self) -> list[str]:
        """The cells of its line in a table."""
        measured, use, named = self.measured, self.measured.use, self.measured.named
        return [
            self.fault,
            f"{self.phase}, shadow" if self.shadow else self.phase,
            self.outcome,
            "" if measured.rest_s is None else f"{measured.rest_s:.2f}",
            f"{measured.way_rad:.3f}",
            "" if use is None else f"{use.velocity:.2f}",
            "" if use is None else f"{use.acceleration:.2f}",
            "" if use is None else f"{use.jerk:.2f}",
            "" if named is None else _cell(str(named)),
            "pass" if self.passed else _cell(f"FAIL: {'; '.join(self.objections)}"),
        ]


def _cell(text: str) -> str:
    """Text that does not end its cell, and tells nothing of where the run kept its files."""
    return re.sub(rf"\S*{FOLDER_PREFIX}[^\s:]*", "FOLDER", text).replace("|", "/")


HEADINGS = (
    "fault",
    "phase",
    "must",
    "to rest (s)",
    "way (rad)",
    "velocity",
    "acceleration",
    "jerk",
    "named by",
    "result",
)


def format_text(rows: Sequence[Row]) -> str:
    """A table for a terminal: the long cells last, on lines of their own where they are needed."""
    lines = [f"{'fault':<28}{'phase':<14}{'to rest s':>10}{'way rad':>9}{'vel.':>7}{'acc.':>7}{'jerk':>7}  result"]
    for row in rows:
        cells = row.cells()
        figures = f"{cells[3]:>10}{cells[4]:>9}{cells[5]:>7}{cells[6]:>7}{cells[7]:>7}"
        lines.append(f"{cells[0]:<28}{cells[1]:<14}{figures}  {cells[9]}")
    passed = sum(row.passed for row in rows)
    return "\n".join([*lines, f"{passed} of {len(rows)} rows pass"])


def format_page(rows: Sequence[Row], machine: Mapping[str, Any], versions: Mapping[str, str], command: str) -> str:
    """The page of the benchmark."""
    libraries = ", ".join(f"{name} {versions[name]}" for name in ("python", "mujoco") if name in versions)
    table = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    table += ["| " + " | ".join(row.cells()) + " |" for row in rows]
    untold = [f"`{name}` ({fault.never_idle})" for name, fault in FAULTS.items() if fault.never_idle]
    return f"""# Faults

What the arm does when something around it breaks, on the twin (`simulator_node` in realtime, disturbed by its
parameters `imperfections.*`), with `arm_gateway_node` and a policy that goes round about a pose, or carries an object.
{sum(row.passed for row in rows)} of {len(rows)} rows pass.

- In the phase `idle` the policy is loaded and not active, in `moving` the arm goes round, in `grasping` it carries.
  `idle, shadow`: what breaks is the policy, or what only it needs, so it is active, and the gateway in shadow mode.
  Not tried in `idle`: {", ".join(untold)}.
- `holds`: the arm must come to rest, a diagnostic must name the cause, and after the fault is mended the arm must do
  again what it did. `goes on`: the arm must go on moving. In `idle` it must stay where it is. `told`: somebody else
  leads the arm aside by 0.1 rad, again and again, and begins abruptly; the gateway cannot hinder that, only say who it
  is. No joint may be flung: of the limits, that of velocity is judged.
- `to rest` counts from before the injection to the first of 0.3 s in which no arm joint is faster than 0.02 rad/s;
  `way` is the furthest that an arm joint went meanwhile. Both are of the true joints, not of what sensors tell.
- `velocity`, `acceleration` and `jerk` are the most of the robot's limits, over joints and time, that the commands
  asked for, as a joint trajectory controller follows them; none that is judged may be above 1.
- A refused parameter is named by the answer of the service that was asked to set it, and by no diagnostic.
- The simulator stands for the arm; its absence would be that of the arm, so it is never stopped. A node that is
  killed tells nothing: its diagnostics are then called STALE, as an aggregator does.

{chr(10).join(table)}

`{command}`, on {machine["cores"]} cores of {machine["cpu"]}; {libraries}.
"""
