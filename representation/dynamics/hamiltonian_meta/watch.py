"""Watch held tools for collisions and slips: `python -m representation.dynamics.hamiltonian_meta.watch`.

A model of each tool is fitted to fifty readings of its calm part; the alarm sounds when the energy drifts by more than
5 standard deviations of what it does in that part.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from representation.dynamics.hamiltonian_meta.energy_alarm import AlarmConfig, EnergyAlarm
from representation.dynamics.hamiltonian_meta.network import HamiltonianNet
from representation.dynamics.hamiltonian_meta.windows import HeldTools, read_held_tools
from representation.registry import load_model


@dataclass(frozen=True)
class WatchOptions:
    """What is watched.

    Attributes:
        model: directory of a network that `.train --tools` wrote.
        tools: directory with the windows of held tools.
        count: windows; 0 watches all.
        json: print JSON, a line each.
        alarm: when it sounds.
    """

    model: Path
    tools: Path
    count: int = 0
    json: bool = False
    alarm: Annotated[AlarmConfig, tyro.conf.arg(name="")] = field(default_factory=AlarmConfig)


def watch(net: HamiltonianNet, tools: HeldTools, options: WatchOptions) -> list[dict[str, Any]]:
    """What happened in each window and when, and when the alarm sounded, seconds; None where nothing or never."""
    rows = []
    for number, window in enumerate(tools.windows[: options.count or None]):
        alarm = EnergyAlarm(net, window.part(slice(tools.calm)), options.alarm)
        event = tools.events[number]
        at = None if event == "nothing" else round(float(tools.event_s[number]), 2)
        largest = float(alarm.sigmas(window)[tools.calm :].max())
        rows.append({"window": number, "event": event, "event_s": at, "alarm_s": alarm.sounds(window)})
        rows[-1]["sigmas"] = round(largest, 1)
    return rows


def main(args: Sequence[str] | None = None) -> None:
    """Print it."""
    options = tyro.cli(WatchOptions, args=args, description=__doc__)
    try:
        net, tools = load_model(options.model), read_held_tools(options.tools)
        if not isinstance(net, HamiltonianNet):
            raise ValueError(f"{options.model}: expected a Hamiltonian network, found {type(net).__name__}")
        rows = watch(net, tools, options)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    for row in rows:
        if options.json:
            print(json.dumps(row))
            continue
        happened = "nothing" if row["event_s"] is None else f"{row['event']} at {row['event_s']:.2f} s"
        told = "silent" if row["alarm_s"] is None else f"alarm at {row['alarm_s']:.2f} s"
        print(f"{row['window']:4d}  {happened:<22}{told:<20}{row['sigmas']:.1f} sigmas at most")


if __name__ == "__main__":
    main()
