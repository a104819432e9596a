"""Watch held tools for collisions and slips: `python -m representation.dynamics.hamiltonian_meta.watch`.

A model of each tool is fitted to fifty readings of its calm part; the alarm sounds when the energy drifts by more than
5 standard deviations of what it does in that part. Readings are those of `--tools DIR` (`python -m sim.held_tools`), of
an episode of a LeRobot dataset (`--dataset DIR --episode N --joints NAME`), or of a bag (`--bag DIR --joints NAME`); in
the latter two the first `--calm-s` seconds are calm. Several joints, as an arm's own that swing with motors off, want
the model that tells their inertia (`--mjcf FILE`), and a network of as many coordinates.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import mujoco
import tyro

from representation.dynamics.hamiltonian_meta.energy_alarm import SMOOTHING, AlarmConfig, EnergyAlarm, JointWindow
from representation.dynamics.hamiltonian_meta.joint_readings import read_bag, read_dataset
from representation.dynamics.hamiltonian_meta.mujoco_passive import MujocoPassive
from representation.dynamics.hamiltonian_meta.network import HamiltonianNet
from representation.dynamics.hamiltonian_meta.windows import HeldTools, read_held_tools
from representation.registry import load_model

PERIOD_S = 0.01  # of the readings of a bag that are looked at


@dataclass(frozen=True)
class WatchOptions:
    """What is watched.

    Attributes:
        model: directory of a network that `.train --tools` wrote.
        tools: directory with the windows of held tools.
        dataset: LeRobot dataset with `observation.state` and `observation.velocity`.
        episode: of it.
        bag: directory of a bag (MCAP), or such a file.
        topic: of its joint states.
        joints: names of those that swing, in a dataset or a bag.
        mjcf: MuJoCo model of them; left out, momenta are velocities, which is exact for one joint.
        calm_s: seconds of a dataset or a bag in which nothing happens.
        count: windows; 0 watches all.
        json: print JSON, a line each.
        alarm: when it sounds.
    """

    model: Path
    tools: Path | None = None
    dataset: Path | None = None
    episode: int = 0
    bag: Path | None = None
    topic: str = "/joint_states"
    joints: tuple[str, ...] = ()
    mjcf: Path | None = None
    calm_s: float = 3.0
    count: int = 0
    json: bool = False
    alarm: Annotated[AlarmConfig, tyro.conf.arg(name="")] = field(default_factory=AlarmConfig)


def watch(net: HamiltonianNet, tools: HeldTools, options: WatchOptions) -> list[dict[str, Any]]:
    """What happened in each window and when, and when the alarm sounded, seconds; None where nothing or never."""
    rows = []
    for number, window in enumerate(tools.windows[: options.count or None]):
        event = tools.events[number]
        at = None if event == "nothing" else round(float(tools.event_s[number]), 2)
        rows.append({"window": number, "event": event, "event_s": at, **heard(net, window, tools.calm, options.alarm)})
    return rows


def heard(net: HamiltonianNet, window: JointWindow, calm: int, config: AlarmConfig) -> dict[str, Any]:
    """When the alarm sounded, seconds or None, and how many sigmas there were after the calm readings.

    Raises:
        ValueError: nothing comes after them.
    """
    if not SMOOTHING <= calm < len(window.positions):
        raise ValueError(f"calm_s: expected {SMOOTHING} to {len(window.positions) - 1} readings, found {calm}")
    alarm = EnergyAlarm(net, window.part(slice(calm)), config)
    return {"alarm_s": alarm.sounds(window), "sigmas": round(float(alarm.sigmas(window)[calm:].max()), 1)}


def recorded(options: WatchOptions) -> JointWindow:
    """The joints of a dataset or a bag.

    Raises:
        ValueError: see `joint_readings` and `MujocoPassive`; or no joint, or several without a model, are named.
    """
    if not options.joints or (len(options.joints) > 1 and options.mjcf is None):
        raise ValueError(f"joints: expected one, or several and an --mjcf, found {', '.join(options.joints) or 'none'}")
    if options.dataset is not None:
        window = read_dataset(options.dataset, options.episode, options.joints)
    elif options.bag is not None:
        window = read_bag(options.bag, options.joints, options.topic, PERIOD_S)
    else:
        raise ValueError("dataset, bag: expected one of them, found none")
    if options.mjcf is None:
        return window
    model = MujocoPassive(mujoco.MjModel.from_xml_path(str(options.mjcf)), options.joints)
    return model.window(window.dt, window.positions, window.velocities)


def main(args: Sequence[str] | None = None) -> None:
    """Print it."""
    options = tyro.cli(WatchOptions, args=args, description=__doc__)
    try:
        if sum(source is not None for source in (options.tools, options.dataset, options.bag)) != 1:
            raise ValueError("tools, dataset, bag: expected one of them, found none or several")
        net = load_model(options.model)
        if not isinstance(net, HamiltonianNet):
            raise ValueError(f"{options.model}: expected a Hamiltonian network, found {type(net).__name__}")
        if options.tools is not None:
            rows = watch(net, read_held_tools(options.tools), options)
        else:
            window = recorded(options)
            told = heard(net, window, round(options.calm_s / window.dt), options.alarm)
            rows = [{"window": 0, "event": "not known", "event_s": None, **told}]
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    for row in rows:
        if options.json:
            print(json.dumps(row))
            continue
        happened = str(row["event"]) + ("" if row["event_s"] is None else f" at {row['event_s']:.2f} s")
        sound = "silent" if row["alarm_s"] is None else f"alarm at {row['alarm_s']:.2f} s"
        print(f"{row['window']:4d}  {happened:<22}{sound:<20}{row['sigmas']:.1f} sigmas at most")


if __name__ == "__main__":
    main()
