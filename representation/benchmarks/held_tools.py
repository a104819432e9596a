"""A tool in a gripper: is its model learned from a wiggle, and does its energy tell collisions and slips?

Windows are those of `python -m sim.held_tools`. The network is meta-trained on free pendulums and springs, which are in
the same file; then it is fitted to fifty readings of each held tool. The alarm's rival is the innovation of a linear
model: the next reading foretold from the last four by least squares on the same calm part. The alarm with the fitted
network also hears free pendulums that are knocked by a twentieth of their largest momentum, or are not.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.hamiltonian_meta import JOINT, META, errors, trained
from representation.dynamics.hamiltonian_meta.adaptation import MetaConfig
from representation.dynamics.hamiltonian_meta.energy_alarm import (
    TIME_UNIT_S,
    AlarmConfig,
    EnergyAlarm,
    JointWindow,
    first_above,
)
from representation.dynamics.hamiltonian_meta.network import HamiltonianConfig, HamiltonianNet
from representation.dynamics.hamiltonian_meta.rollout import rk4
from representation.dynamics.hamiltonian_meta.systems import SYSTEMS, Trajectories
from representation.dynamics.hamiltonian_meta.windows import EVENTS, HeldTools, read_held_tools

NAME = "held_tools"  # directory beside that of the renders
CONFIG = MetaConfig(iterations=400, outer_lr=1e-3, tasks=8, inner_lr=0.15, inner_steps=5)
SIZES = HamiltonianConfig(coordinates=1)
LAST, IN_TIME_S = 4, 1.0  # readings that a linear model sees; an alarm is in time so long after an event began
TESTS, WATCHED = 12, 30  # tools of each seed whose model, and whose alarm, is tested; a third of each event
KNOCKED, KNOCK = 100, 0.05  # pendulums of each seed, and the knock as a share of the largest momentum
DT, READINGS, CALM = 0.01, 700, 300  # seconds, readings of a pendulum, and how many of them are calm
NOISE = (1e-3, 5e-3)  # of angles and speeds, rad and rad/s, as of `sim.held_tools`


def run(options: BenchOptions) -> list[Claim]:
    """How soon the model fits, and how often each alarm is right.

    Raises:
        FileNotFoundError: there are no windows; says how to make them.
    """
    tools = read_held_tools(options.data.with_name(NAME))
    found = [_one(seed, tools, options) for seed in range(options.seeds)]

    def claim(text: str, name: str, ours: str, baseline: str | float, least: float | None = 0.0) -> Claim:
        others = tuple(x[baseline] if isinstance(baseline, str) else baseline for x in found)
        return Claim(text, name, tuple(x[ours] for x in found), others, least)

    return [
        claim("held tool, 5 steps on 50 readings: error saved, share of jointly trained's", "asked", "saved", 0.2),
        claim("held tool, 5 steps: relative L1 error of the field, negated", JOINT, "meta", "joint", None),
        claim("collisions told within 1 s", "linear innovation", "collision", "collision, linear"),
        claim("slips told within 1 s", "linear innovation", "slip", "slip, linear"),
        claim("calm windows in which it stays silent", "linear innovation", "nothing", "nothing, linear"),
        claim("windows judged rightly", "linear innovation", "all", "all, linear"),
        claim(f"pendulums whose knock of {KNOCK:.0%} of the largest momentum is told", "asked", "knocked", 0.95),
        claim("the same pendulums without a knock: how many stay silent", "asked", "free", 0.98),
    ]


def _one(seed: int, tools: HeldTools, options: BenchOptions) -> dict[str, float]:
    nets = trained(SIZES, tools.passive, CONFIG, seed, options)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(tools.windows))
    tested = [tools.windows[place].part(slice(tools.calm)) for place in order[: options.steps(TESTS)]]
    tests = Trajectories(*(torch.stack([getattr(w, name)() for w in tested]) for name in ("states", "rates")))
    wrong = errors(nets, tests, CONFIG.inner_lr, torch.Generator().manual_seed(seed))
    found = {"meta": -wrong[META, 5], "joint": -wrong[JOINT, 5], "saved": 1 - wrong[META, 5] / wrong[JOINT, 5]}
    right: dict[str, list[bool]] = {}
    each = options.steps(WATCHED // len(EVENTS))
    watched = [place for event in EVENTS for place in [p for p in order if tools.events[p] == event][:each]]
    for place in watched:
        window, event, at = tools.windows[place], tools.events[place], tools.event_s[place]
        alarm = EnergyAlarm(nets[META], window.part(slice(tools.calm)), AlarmConfig(), seed)
        sounds = {"": alarm.sounds(window), ", linear": _linear_alarm(window, tools.calm)}
        for name, sound in sounds.items():
            judged = sound is None if event == "nothing" else sound is not None and 0 <= sound - at <= IN_TIME_S
            right.setdefault(event + name, []).append(judged)
            right.setdefault("all" + name, []).append(judged)
    found |= {name: float(np.mean(judged)) for name, judged in right.items()}
    return found | knocks(nets[META], options.steps(KNOCKED), seed)


def knocks(net: HamiltonianNet, count: int, seed: int) -> dict[str, float]:
    """Shares of pendulums whose knock is told, after it came, and of the same ones that are silent without it."""
    heard = {"knocked": 0, "free": 0}
    for free, knocked, at in pendulums(count, seed):
        alarm = EnergyAlarm(net, free.part(slice(CALM)), AlarmConfig(), seed)
        sound = alarm.sounds(knocked)
        heard["knocked"] += sound is not None and sound >= at
        heard["free"] += alarm.sounds(free) is None
    return {name: value / count for name, value in heard.items()}


def pendulums(count: int, seed: int) -> Iterator[tuple[JointWindow, JointWindow, float]]:
    """Noisy readings of free pendulums, of the same ones knocked on in the direction of motion, and when, seconds."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    low, high = ((rate * TIME_UNIT_S) ** 2 for rate in (5.0, 8.0))  # rad/s of small swings
    constants = low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)
    angles = 0.3 + 0.5 * torch.rand(count, 1, 1, generator=generator, dtype=torch.float64)
    starts = torch.cat([angles, torch.zeros_like(angles)], dim=2)

    def field(states: Tensor) -> Tensor:
        return SYSTEMS["pendulum"].field(states, constants)

    free = rk4(field, starts, DT / TIME_UNIT_S, READINGS - 1)  # (T, B, 1, 2)
    at, every = rng.integers(CALM + 30, READINGS - 200, count), torch.arange(count)
    states = free[torch.from_numpy(at), every]
    strength = KNOCK * free[..., 1].abs().amax(dim=0)
    pushed = torch.stack([states[..., 0], states[..., 1] + strength * states[..., 1].sign()], dim=2)
    after = rk4(field, pushed, DT / TIME_UNIT_S, READINGS - 1 - int(at.min()))
    for number in range(count):
        when, noise = int(at[number]), rng.normal(0, NOISE, (READINGS, 2))
        path = torch.cat([free[:when, number], after[: READINGS - when, number]])
        windows = []
        for readings in (free[:, number, 0].numpy(), path[:, 0].numpy()):
            noisy = readings / (1, TIME_UNIT_S) + noise
            windows.append(JointWindow(DT, noisy[:, :1], noisy[:, 1:]))
        yield windows[0], windows[1], when * DT


def _linear_alarm(window: JointWindow, calm: int) -> float | None:
    """When the next reading first is further than 5 sigmas from what a linear model says."""
    readings = np.concatenate([window.positions, window.velocities], axis=1)
    surprise = innovations(readings, calm)
    scatter = surprise[: calm - LAST].std()
    return first_above(np.r_[np.zeros(LAST), np.abs(surprise) / scatter], calm, AlarmConfig().sigmas, window.dt)


def innovations(readings: NDArray[np.float64], calm: int) -> NDArray[np.float64]:
    """(T - 4,) errors of the last column, foretold from four rows by least squares on the first `calm` rows."""
    count = len(readings) - LAST
    rows = np.concatenate([readings[start : start + count] for start in range(LAST)] + [np.ones((count, 1))], axis=1)
    wanted = readings[LAST:, -1]
    weights, *_ = np.linalg.lstsq(rows[: calm - LAST], wanted[: calm - LAST], rcond=None)
    return wanted - rows @ weights
