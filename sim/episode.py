"""One episode of an evaluation, in process and in lockstep, and its result."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from policies.interface import looks_back
from sim.episode_id import EpisodeId

if TYPE_CHECKING:
    from policies.execution.arm_gateway import ArmGateway
    from policies.execution.policy_runner import PolicyRunner
    from sim.perturbation import Perturbation
    from sim.videos import Film
    from sim.world import World


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """What came of one episode.

    Attributes:
        id: the episode.
        success: whether the task's goal state held.
        progress: from 0 to 1, the most that was reached.
        steps: control steps taken.
        instruction: what the policy read.
        wall_s: duration in seconds of wall clock.
        inference_s: (Q,) seconds that the policy took for each of its Q queries.
        joint_targets: (M, n) positions of all knots of all trajectories that were sent to the controller, in order,
            rad (m for the gripper joint).
        jerk: of the commanded arm joints, rad/s^3, see `sim.simulation.TaskStatus`.
        rejected: number of queries whose trajectory the safety filter refused (the arm held instead).
        video: an encoded MP4 of the episode, or None.
    """

    id: EpisodeId
    success: bool
    progress: float
    steps: int
    instruction: str
    wall_s: float
    inference_s: NDArray[np.float64]
    joint_targets: NDArray[np.float64]
    jerk: float = 0.0
    rejected: int = 0
    video: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inference_s", np.asarray(self.inference_s, dtype=np.float64))
        targets = np.ascontiguousarray(self.joint_targets, dtype="<f8")
        if targets.ndim != 2:
            raise ValueError(f"joint_targets: expected (M, n), found shape {targets.shape}")
        object.__setattr__(self, "joint_targets", targets)

    @property
    def joint_targets_sha256(self) -> str:
        """Hash of the joint targets as little-endian float64, row by row."""
        return hashlib.sha256(self.joint_targets.tobytes()).hexdigest()


def run_episode(
    runner: PolicyRunner,
    gateway: ArmGateway,
    world: World,
    episode: EpisodeId,
    perturbation: Perturbation,
    query_steps: int = 1,
    film: Film | None = None,
) -> EpisodeResult:
    """Run one episode in lockstep: simulated time waits for the policy, so that its speed has no influence.

    This is the loop that the ROS graph runs in its `lockstep` mode, with the same objects.

    Args:
        runner: the policy and what turns its chunks into trajectories.
        gateway: what stands between the runner and the arm.
        world: with the robot and the task.
        episode: which episode.
        perturbation: what is taken from the policy, if anything.
        query_steps: control steps between two queries of the policy.
        film: films the episode if given.
    """
    began = time.perf_counter()
    perturbation.begin(world, episode)
    runner.reset(seed=episode.integer_seed("policy"))
    gateway.reset()
    if film is not None:
        film.begin()
    inference_s, targets, rejected = [], [], 0
    earlier: dict[str, NDArray[np.uint8]] = {}
    status = world.status()
    while not status.done:
        observation = perturbation.apply(replace(world.observe(), earlier=earlier))
        motion = runner.step(observation)
        inference_s.append(motion.inference_s)
        command = gateway.command(motion.trajectory, observation)
        rejected += command.rejected
        world.accept(command.trajectory)
        targets.append(command.trajectory.positions)
        for left in reversed(range(query_steps)):
            if left == 0 and looks_back(runner.policy):
                earlier = world.pictures()
            status = world.advance(1)
            if film is not None:
                film.take()
            if status.done:
                break
    return EpisodeResult(
        id=episode,
        success=status.success,
        progress=status.progress,
        steps=status.steps,
        instruction=world.instruction,
        wall_s=time.perf_counter() - began,
        inference_s=np.array(inference_s),
        joint_targets=np.concatenate(targets),
        jerk=status.jerk,
        rejected=rejected,
        video=film.encode() if film is not None else None,
    )
