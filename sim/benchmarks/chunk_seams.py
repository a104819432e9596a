"""How smoothly does an arm pass from one chunk to the next while the policy takes 200 ms?

Compared, with one policy: waiting for each chunk (`sync`), replacing the running chunk by the new one (`replace`), and
making the new one go on with the running one (real-time chunking, arXiv 2506.07339, by three methods). The policy is a
tiny RDT that goes round with a moving target (see `circling.py`) and is trained here for each seed, or one from a
directory on a task of ours. Time is simulated, so the latency is exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from policies.execution.arm_gateway import ArmGateway, GatewayCommand, GatewayConfig
from policies.execution.chunk_scheduler import ChunkScheduler, SchedulerConfig
from policies.execution.gateway_states import GatewayState
from policies.execution.policy_runner import PlannedMotion, PolicyRunner, RunnerConfig
from policies.execution.trajectory import JointTrajectory
from policies.interface import ActionChunk, Continuation, ContinuingPolicy, Observation, load_policy, looks_back
from policies.machine import describe_machine, library_versions
from sim.benchmarks import circling
from sim.benchmarks.circling import CirclingPolicy
from sim.episode_id import EpisodeId
from sim.expert_policy import ExpertPolicy
from sim.simulation import SimulationConfig, TabletopSimulation

LATENCY_S = 0.2
NEAR = 0.01  # rad, of the waist from its target
# Who waits for a chunk sends nothing for as long as one lasts. The target does not wait for the arm, so one that is
# behind must be led back to its chunks.
GATEWAY = GatewayConfig(command_timeout_s=5.0, catch_up_s=0.3)
WARM_UP_S = 1.0  # in which the arm gets into motion
SEAM_STEPS = 2
LEAST_DURATION_S = 2.0
# What is asked of the trained policy: a seam that is felt without real-time chunking and none that is felt with it.
LEAST_REPLACED_SEAM, LARGEST_GUIDED_SEAM = 3.0, 1.5
SCORE_LOSS = 0.05
EXPERT_SEED = 1000  # added to the seed of the episodes
RTC = "real_time_chunking"
METHODS: dict[str, SchedulerConfig] = {
    "sync": SchedulerConfig(),
    "replace": SchedulerConfig(),
    "rtc guided": SchedulerConfig(RTC, method="guided"),
    "rtc blend": SchedulerConfig(RTC, method="blend"),
    "rtc replace": SchedulerConfig(RTC, method="replace"),
}


@dataclass(frozen=True, slots=True)
class SeamSettings:
    """How much is trained and driven.

    Attributes:
        policy: directory or name of a policy that can go on with its chunks; a tiny one is trained if left out.
        task: of that policy.
        steps: of training, 64 chunks each.
        seeds: runs; weights, data and noise are drawn anew for each, or for a given policy noise and episodes.
        duration_s: seconds that each method drives the arm.
        lr: learning rate of AdamW, before it falls.
    """

    policy: str = ""
    task: str = "transfer_cube"
    steps: int = 2000
    seeds: int = 3
    duration_s: float = 60.0
    lr: float = 2e-3


class DelayedPolicy:
    """A policy that takes `LATENCY_S` of simulated time, which `clock` tells, for each answer."""

    def __init__(self, policy: ContinuingPolicy) -> None:
        self._policy = policy
        self.robot, self.cameras = policy.robot, policy.cameras
        self.control_hz, self.chunk_length = policy.control_hz, policy.chunk_length
        self.clock = 0.0

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode."""
        self._policy.reset(seed)

    def act(self, observation: Observation) -> ActionChunk:
        """Answer without regard to the chunk before."""
        self.clock += LATENCY_S
        return self._policy.act(observation)

    def act_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """Answer one after the other."""
        return [self.act(observation) for observation in observations]

    def act_on(self, observation: Observation, continuation: Continuation) -> ActionChunk:
        """Answer so that the chunk goes on with the one before."""
        self.clock += LATENCY_S
        return self._policy.act_on(observation, continuation)


class Course(Protocol):
    """What the arm is to do.

    Attributes:
        median_step: median norm of the commanded steps of demonstrations, over the arms' joints, rad.
    """

    simulation: TabletopSimulation
    median_step: float

    def begin(self) -> None:
        """Reset the simulation to the next episode."""
        ...

    def start(self) -> ActionChunk | None:
        """What the arm does before the policy has answered at all; None for nothing."""
        ...

    def judge(self) -> tuple[float, bool]:
        """How well the last control step went, from 0 to 1, and whether the episode is over."""
        ...


class Circling:
    """One endless episode; well is near the target."""

    def __init__(self) -> None:
        self.simulation = TabletopSimulation(SimulationConfig(control_hz=circling.HZ, cameras=()))
        self.median_step = circling.median_step()

    def begin(self) -> None:
        """Start where the target is."""
        start = circling.ROBOT.home.copy()
        start[list(circling.JOINTS)] = circling.motions([0.0], [0.0])[0, 0]
        self.simulation.reset(EpisodeId("reach", "nominal", 1, 0, 0), start)

    def start(self) -> ActionChunk:
        """Go with the target, which does not wait for the policy."""
        return circling.led_in(self.simulation.time)

    def judge(self) -> tuple[float, bool]:
        """Whether the waist is near its target."""
        waist = self.simulation.scene.joint_positions[circling.JOINTS[0]]
        wanted = circling.motions(circling.phase_at([self.simulation.time]), [0.0])[0, 0, 0]
        return float(abs(waist - wanted) < NEAR), False


class TaskCourse:
    """Episodes of a task, one after the other; well is their progress."""

    def __init__(self, policy: ContinuingPolicy, task: str, seed: int) -> None:
        config = SimulationConfig.of(policy.robot, cameras=tuple(policy.cameras), control_hz=policy.control_hz)
        self.simulation = TabletopSimulation(config)
        self._task, self._seed, self._index = task, seed, 0
        self.median_step = self._expert_step()

    def begin(self) -> None:
        """Take the next episode."""
        self.simulation.reset(EpisodeId(self._task, "nominal", 1, self._index, self._seed))
        self._index += 1

    def start(self) -> None:
        """Rest."""

    def judge(self) -> tuple[float, bool]:
        """Progress of the task."""
        status = self.simulation.judge()
        return status.progress, status.done

    def _expert_step(self) -> float:
        """Median step of the expert in an episode of its own."""
        simulation = self.simulation
        simulation.reset(EpisodeId(self._task, "nominal", 1, 0, self._seed + EXPERT_SEED))
        runner = PolicyRunner(ExpertPolicy(simulation), simulation.robot)
        arm = ArmPath(simulation)
        while not simulation.status().done:
            arm.ask(runner.step(replace(simulation.observe(), cameras={})).trajectory)
            arm.advance()
            simulation.judge()
        return float(np.median(arm.steps()))


class ArmPath:
    """What an arm behind its gateway is commanded to do, control step by control step.

    Args:
        simulation: of the arm, in an episode that has just begun.
    """

    def __init__(self, simulation: TabletopSimulation) -> None:
        self._simulation = simulation
        self.gateway = ArmGateway(simulation.robot, GATEWAY)
        self._path = [self._commanded()]
        self.look()

    def look(self) -> None:
        """Let the gateway read the joints."""
        simulation, now = self._simulation, self._simulation.time
        scene = simulation.scene
        self._accept(self.gateway.on_joint_state(now, scene.joint_positions, scene.joint_velocities, now))
        self._accept(self.gateway.tick(now))

    def ask(self, trajectory: JointTrajectory) -> float:
        """Ask the gateway for a motion; the largest of the first steps of it, rad in a control step."""
        now, period = self._simulation.time, self._simulation.control_period
        way = np.vstack([self._commanded(), trajectory.positions[:SEAM_STEPS, self._simulation.robot.arm_joints]])
        durations = np.diff([0.0, *(trajectory.stamp + trajectory.times[:SEAM_STEPS] - now)])
        self._accept(self.gateway.on_trajectory(trajectory, now))
        return float((np.linalg.norm(np.diff(way, axis=0), axis=-1) / durations).max() * period)

    def advance(self) -> None:
        """Go on for a control step."""
        for _ in range(round(self._simulation.control_period / self._simulation.scene.model.opt.timestep)):
            self._simulation.tick()
        self._path.append(self._commanded())
        self.look()

    def steps(self) -> NDArray[np.float64]:
        """Norms of the steps so far, over the arms' joints, rad."""
        return np.linalg.norm(np.diff(self._path, axis=0), axis=-1)

    @property
    def moves(self) -> bool:
        """Whether the arm follows a trajectory."""
        return self.gateway.state is GatewayState.MOVING

    def _accept(self, command: GatewayCommand | None) -> None:
        if command is not None:
            self._simulation.accept(command.trajectory)

    def _commanded(self) -> NDArray[np.float64]:
        return self._simulation.commanded_positions[self._simulation.robot.arm_joints]


def drive(policy: ContinuingPolicy, course: Course, method: str, duration_s: float, seed: int) -> dict[str, float]:
    """Let a policy drive for some seconds; what the seams, the waits and the motion were like."""
    episodes: list[_Episode] = []
    ticks = round(duration_s * policy.control_hz)
    while (left := ticks - sum(len(episode.scores) for episode in episodes)) > 0:
        course.begin()
        episodes.append(_drive_episode(policy, course, method, left, seed + len(episodes)))
    jumps = np.concatenate([episode.jumps for episode in episodes]) / course.median_step
    return {
        "largest seam": float(jumps.max()),
        "seam p95": float(np.percentile(jumps, 95)),
        "largest step": max(episode.largest_step for episode in episodes) / course.median_step,
        "missed ticks": sum(episode.missed for episode in episodes),
        "chunks": sum(episode.chunks for episode in episodes),
        "unguided": sum(episode.unguided for episode in episodes),
        "slowed": sum(episode.slowed for episode in episodes),
        "refused": sum(episode.refused for episode in episodes),
        "score": float(np.mean(np.concatenate([episode.scores for episode in episodes]))),
    }


@dataclass(frozen=True, slots=True)
class _Episode:
    jumps: NDArray[np.float64]
    largest_step: float
    missed: int
    chunks: int
    unguided: int
    slowed: int
    refused: int
    scores: list[float]


def _drive_episode(policy: ContinuingPolicy, course: Course, method: str, most_ticks: int, seed: int) -> _Episode:
    simulation, sync = course.simulation, method == "sync"
    delayed = DelayedPolicy(policy)
    runner = PolicyRunner(delayed, simulation.robot, RunnerConfig(METHODS[method]), timer=lambda: delayed.clock)
    runner.reset(seed)
    arm = ArmPath(simulation)
    latency = math.ceil(LATENCY_S * policy.control_hz)
    lead = course.start()
    if lead is not None:
        arm.ask(ChunkScheduler(simulation.robot).plan(lead, simulation.scene.joint_positions, simulation.time))
    seams: list[int] = []
    jumps: list[float] = []
    warm_up = round(WARM_UP_S * policy.control_hz)
    scores: list[float] = []
    missed, unguided, over = 0, 0, False
    pending: PlannedMotion | None = None
    ready = 0
    earlier: dict[str, NDArray[np.uint8]] = {}
    while not over and len(scores) < most_ticks:
        tick = len(scores)
        if pending is not None and tick == ready:
            # Who waits begins a chunk when it has come; who does not has it begin at its observation.
            begun = simulation.time if sync else pending.chunk.stamp
            jump = arm.ask(replace(pending.trajectory, stamp=begun))
            seams.append(tick)
            jumps += [jump] * (tick >= warm_up)
            unguided += not pending.chunk.committed
            pending = None
        # A trajectory of stamp 0 would begin when it comes.
        if pending is None and tick > 0 and not (sync and arm.moves):
            observation = replace(simulation.observe(), earlier=earlier)
            pending, ready = runner.step(observation, None if sync else simulation.time), tick + latency
        if looks_back(policy):
            earlier = simulation.pictures()
        missed += bool(seams) and not arm.moves
        arm.advance()
        score, over = course.judge()
        scores.append(score)
    steps = arm.steps()
    return _Episode(
        jumps=np.array(jumps),
        largest_step=float(steps[warm_up:].max(initial=0.0)),
        missed=missed,
        chunks=len(seams),
        unguided=unguided if METHODS[method].mode == RTC else 0,
        slowed=arm.gateway.counters["slowed"],
        refused=arm.gateway.counters["rejected"],
        scores=scores,
    )


def run(settings: SeamSettings) -> dict[str, Any]:
    """Let a policy drive by each method, for each seed.

    Raises:
        FileNotFoundError: no such policy.
        ValueError: the policy cannot go on with its chunks, or the time is too short for two chunks by each method.
    """
    if settings.duration_s < LEAST_DURATION_S:
        raise ValueError(f"duration_s: expected at least {LEAST_DURATION_S:g}, found {settings.duration_s:g}")
    rows: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
    median_steps = []
    for seed in range(settings.seeds):
        policy, course = _given(settings, seed) if settings.policy else _trained(settings, seed)
        median_steps.append(course.median_step)
        for method, found in rows.items():
            found.append(drive(policy, course, method, settings.duration_s, seed))
    return {
        "settings": asdict(settings),
        "control_hz": policy.control_hz,
        "median_steps": median_steps,
        "machine": describe_machine(),
        "libraries": library_versions(),
        "results": rows,
    }


def _given(settings: SeamSettings, seed: int) -> tuple[ContinuingPolicy, Course]:
    policy = load_policy(settings.policy)
    if not isinstance(policy, ContinuingPolicy):
        raise ValueError(f"policy {settings.policy!r}: expected one that goes on with its chunks, found none")
    return policy, TaskCourse(policy, settings.task, seed)


def _trained(settings: SeamSettings, seed: int) -> tuple[ContinuingPolicy, Course]:
    policy = CirclingPolicy(seed)
    policy.train(settings.steps, settings.lr, f"seed {seed}")
    return policy, Circling()


def claims(rows: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, bool]:
    """What is asked of a trained policy, with what was found, and whether it holds for every seed."""

    def found(method: str, name: str) -> NDArray[np.float64]:
        return np.array([row[name] for row in rows[method]])

    def told(values: NDArray[np.float64]) -> str:
        return f"{values.min():.3g} to {values.max():.3g}"

    replaced, guided = found("replace", "largest seam"), found("rtc guided", "largest seam")
    executed = found("rtc guided", "largest step")
    waiting = found("sync", "missed ticks")
    moving = np.concatenate([found(method, "missed ticks") for method in rows if method != "sync"])
    gain = found("rtc guided", "score") - found("sync", "score")
    return {
        f"largest seam of replace at least {LEAST_REPLACED_SEAM:g}: {told(replaced)}": bool(
            replaced.min() >= LEAST_REPLACED_SEAM
        ),
        f"largest seam of rtc guided at most {LARGEST_GUIDED_SEAM:g}: {told(guided)}": bool(
            guided.max() <= LARGEST_GUIDED_SEAM
        ),
        f"largest step of rtc guided at most {LARGEST_GUIDED_SEAM:g}: {told(executed)}": bool(
            executed.max() <= LARGEST_GUIDED_SEAM
        ),
        f"missed ticks of sync above 0: {told(waiting)}": bool(waiting.min() > 0),
        f"missed ticks of all others 0: {told(moving)}": bool(moving.max() == 0),
        f"score of rtc guided over sync's at least {-SCORE_LOSS:g}: {told(gain)}": bool(gain.min() >= -SCORE_LOSS),
    }


def format_text(result: Mapping[str, Any]) -> str:
    """Lay a result out for people."""
    settings, machine = result["settings"], result["machine"]
    given = settings["policy"]
    who = f"{given} on {settings['task']}" if given else f"a tiny network, {settings['steps']} training steps"
    score = (
        "mean progress of the task" if given else f"share of the time with the waist within {NEAR} rad of its target"
    )
    names = list(result["results"]["sync"][0])
    lines = [
        f"{who}; {settings['duration_s']:g} s each at {result['control_hz']:g} Hz, {1000 * LATENCY_S:g} ms of latency",
        f"steps are commanded ones over the demonstrations' median, {np.mean(result['median_steps']):.3f} rad",
        f"seams: the larger of the first {SEAM_STEPS} steps that a new chunk asks for; score: {score}",
        f"{'method':<12}{'seed':>5}" + "".join(f"{name:>{_width(name)}}" for name in names),
    ]
    for method, found in result["results"].items():
        for seed, row in enumerate(found):
            lines.append(f"{method:<12}{seed:>5}" + "".join(f"{row[name]:>{_width(name)}.4g}" for name in names))
    if not given:
        lines += [f"{'yes' if holds else 'NO':<4}{claim}" for claim, holds in claims(result["results"]).items()]
    lines.append(f"{machine['cpu']}, {machine['cores']} cores, {machine['accelerator'] or 'no GPU'}")
    return "\n".join(lines)


def _width(name: str) -> int:
    return max(len(name), 6) + 2


def format_markdown(result: Mapping[str, Any]) -> str:
    """Lay a result out as a page."""
    return _PAGE.format(table=format_text(result))


_PAGE = """# Seams between chunks

An RDT drives a simulated arm while each of its chunks takes 200 ms. Its demonstrations go round with a target at
distances that the policy cannot know, so two chunks that are drawn one after the other disagree, which makes seams.

```
{table}
```

How to read it:

- `sync` executes a chunk, which ends at rest, and holds the arm until the next one is there. Each tick without motion
  counts as missed; seams are where the next chunk begins elsewhere.
- `replace` asks for the next chunk as soon as one has come, and executes it as soon as it is there.
- `rtc` does the same with real-time chunking: each chunk is made to go on with the one that the arm executes.
  `guided` follows the network's Jacobian, `blend` averages both chunks in every step of the sampler, `replace` fixes
  the committed rows alone.
- A seam or step of 1 is one like those of the demonstrations. Seams are what a chunk asks for, steps what the arm is
  commanded to do: every trajectory goes through the arm gateway, which leads the arm into one that begins elsewhere
  (`catch_up_s`, 0.3 s), and slows or refuses what is beyond the arm's limits. The first second, in which the arm gets
  into motion, does not count.
- `unguided` chunks begin afresh: there was no chunk to go on with, or the arm was elsewhere than it says.
- Lines with `yes` and `NO` tell what is asked, and whether it holds for every seed.
- Time is simulated, so the latency is exact, and missed ticks tell of the method, not of the machine.

Run it again with `python -m sim.bench chunk_seams --write`. With `--seams.policy DIRECTORY --seams.task transfer_cube`
a trained policy drives through episodes of a task, and steps are measured against the expert's.
"""
