"""A policy that drives the first part of a demonstration, so that the expert shows the way on from where it went wrong.

Demonstrations of an expert show few of the states that an imitating policy comes into. In DAgger (Ross et al., AISTATS
2011) the policy drives and the expert labels; here the expert takes over at a random moment, as whoever corrects an arm
does (HG-DAgger, Kelly et al., ICRA 2019), because what is learned are chunks of motions that were really executed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from policies.execution.arm_gateway import ArmGateway
from policies.execution.policy_runner import PolicyRunner
from policies.interface import load_policy, looks_back
from sim.episode_id import EpisodeId
from sim.simulation import TabletopSimulation


@dataclass(frozen=True, slots=True)
class LeaderConfig:
    """Who drives first, and for how long.

    Attributes:
        policy: name or directory of a policy; the expert drives from the start if left out.
        steps: most control steps that it drives; the number is drawn evenly, from 0.
        query_steps: control steps between two of its answers.
    """

    policy: str = ""
    steps: int = 200
    query_steps: int = 8

    def __post_init__(self) -> None:
        for name in ("steps", "query_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"leader.{name}: expected at least 1, found {getattr(self, name)}")


class Leader:
    """Drives in one simulation.

    Args:
        config: with a policy.
        simulation: which is reset to an episode before.

    Raises:
        FileNotFoundError: no such policy.
        ValueError: it cannot be loaded, is for another robot or rate, or needs a camera that is not recorded.
    """

    def __init__(self, config: LeaderConfig, simulation: TabletopSimulation) -> None:
        policy = load_policy(config.policy, robot=simulation.config.robot)
        for name, expected, found in (
            ("control_hz", simulation.config.control_hz, policy.control_hz),
            ("cameras", set(policy.cameras), set(policy.cameras) & set(simulation.config.cameras)),
        ):
            if expected != found:
                raise ValueError(f"leader {config.policy!r}: {name}: expected {expected}, found {found}")
        self._config, self._simulation = config, simulation
        self._runner = PolicyRunner(policy, simulation.robot)
        self._gateway = ArmGateway(simulation.robot)

    def drive(self, episode: EpisodeId, rng: np.random.Generator) -> None:
        """Drive for a random number of steps, or until the task is done.

        Args:
            episode: the present one; the policy's draws follow from it.
            rng: draws the number.
        """
        simulation, left = self._simulation, int(rng.integers(self._config.steps + 1))
        self._runner.reset(seed=episode.integer_seed("policy"))
        self._gateway.reset()
        earlier: dict[str, NDArray[np.uint8]] = {}
        while left > 0 and not simulation.status().done:
            observation = replace(simulation.observe(), earlier=earlier)
            planned = self._runner.step(observation)
            simulation.accept(self._gateway.command(planned.trajectory, observation).trajectory)
            for before_next in reversed(range(min(left, self._config.query_steps))):
                if before_next == 0 and looks_back(self._runner.policy):
                    earlier = simulation.pictures()
                if simulation.advance(1).done:
                    return
            left -= self._config.query_steps
