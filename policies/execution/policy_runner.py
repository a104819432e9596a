"""`PolicyRunner`: from an observation to a joint trajectory, through a policy.

The policy answers with a chunk, inverse kinematics makes joint targets of it, and the scheduler one trajectory. The
policy's node and the in-process evaluation run this same object, so in lockstep both plan the same motion.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import overload

from policies.execution.chunk_scheduler import SAME_INSTANT, ChunkScheduler, SchedulerConfig
from policies.execution.kinematics import Kinematics
from policies.execution.latency_estimate import LatencyEstimate
from policies.execution.trajectory import JointTrajectory
from policies.interface import ActionChunk, Continuation, ContinuingPolicy, Observation, Policy
from policies.robots.spec import RobotSpec


@dataclass(frozen=True, slots=True)
class RunnerConfig:
    """How a policy's answers become motion.

    Attributes:
        scheduler: how overlapping chunks are blended.
    """

    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)


@dataclass(frozen=True, slots=True)
class PlannedMotion:
    """A policy's answer, ready for the arm gateway.

    Attributes:
        trajectory: what the arm is asked to do; its stamp is the observation's.
        chunk: the policy's own answer.
        joint_chunk: the same as joint targets, before it is blended and planned.
        inference_s: seconds that the policy took.
    """

    trajectory: JointTrajectory
    chunk: ActionChunk
    joint_chunk: ActionChunk
    inference_s: float


class PolicyRunner:
    """Runs a policy on one robot. Not thread-safe: the thread that steps it owns it.

    Args:
        policy: what answers observations.
        spec: the robot that it moves.
        config: how its answers become motion.
        timer: returns seconds of a steady clock, to measure the inference with.

    Attributes:
        discarded_chunks: answers so far that came too late to be used, see `step`.

    Raises:
        ValueError: the policy was made for another robot, or cannot go on with its chunks although `config` says so.
    """

    def __init__(
        self,
        policy: Policy,
        spec: RobotSpec,
        config: RunnerConfig | None = None,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        if policy.robot != spec.name:
            raise ValueError(f"policy: expected one for robot {spec.name!r}, found one for {policy.robot!r}")
        self.policy = policy
        self.spec = spec
        self.config = config or RunnerConfig()
        self._timer = timer
        self._continuing: ContinuingPolicy | None = None
        if self.config.scheduler.mode == "real_time_chunking":
            if not isinstance(policy, ContinuingPolicy):
                raise ValueError(
                    f"scheduler mode real_time_chunking: expected a policy that goes on with its chunks, "
                    f"found {type(policy).__name__}"
                )
            self._continuing = policy
        self._latency = LatencyEstimate()
        self.discarded_chunks = 0
        self._last_was_discarded = False
        self._kinematics = Kinematics(spec)
        self._scheduler = ChunkScheduler(spec, self.config.scheduler)

    @property
    def dropped_rows(self) -> int:
        """Rows so far that were past, or too near to reach, when their chunk was planned."""
        return self._scheduler.dropped_rows

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode; `seed` fixes the policy's own random draws."""
        self.policy.reset(seed)
        self._scheduler.reset()
        self._last_was_discarded = False

    @overload
    def step(self, observation: Observation, now: None = None) -> PlannedMotion: ...

    @overload
    def step(self, observation: Observation, now: float | None) -> PlannedMotion | None: ...

    def step(self, observation: Observation, now: float | None = None) -> PlannedMotion | None:
        """Answer one observation.

        None for an answer that cannot be used: of clean rows, in `real_time_chunking`, the arm has executed more than
        the policy was given, and what follows them does not begin where the arm is. The motion before goes on, and the
        next observation is to be answered.

        Args:
            observation: what the policy sees.
            now: time at the call, in seconds on the clock of the stamps; rows that are past, or less than one step
                ahead, when the answer is ready are dropped. None in lockstep, where time stands still until the answer
                is there.
        """
        begin = self._timer()
        chunk = self._answer(observation, now)
        inference_s = self._timer() - begin
        self._latency.add(inference_s)
        joint_chunk = self._kinematics.to_joint_chunk(chunk, observation.joint_positions)
        ready = observation.stamp if now is None else now + self._timer() - begin
        self._last_was_discarded = self._is_overtaken(chunk, ready)
        if self._last_was_discarded:
            self.discarded_chunks += 1
            return None
        trajectory = self._scheduler.plan(joint_chunk, observation.joint_positions, ready)
        return PlannedMotion(trajectory, chunk, joint_chunk, inference_s)

    def _answer(self, observation: Observation, now: float | None) -> ActionChunk:
        if self._continuing is None:
            return self.policy.act(observation)
        config = self.config.scheduler
        # The scheduler drops rows that are due up to one step after the answer.
        delay = None if now is None else now - observation.stamp + self._latency.seconds
        committed = 0 if delay is None else math.floor(delay * self.policy.control_hz) + 1
        continuation = Continuation(
            committed=min(committed, self.policy.chunk_length),
            method=config.method,
            beta=config.beta,
            schedule=config.schedule,
            jacobian=config.jacobian,
            discarded=self._last_was_discarded,
        )
        return self._continuing.act_on(observation, continuation)

    def _is_overtaken(self, chunk: ActionChunk, ready: float) -> bool:
        """Whether a chunk that goes on with clean rows has fewer of them than the scheduler drops."""
        if self.config.scheduler.method != "clean" or not chunk.committed:
            return False
        dropped = math.floor((ready - chunk.stamp - SAME_INSTANT) / chunk.dt) + 1
        return dropped > chunk.committed
